#include "gateway/bus/bytes.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"

#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>

namespace troupe::on_bus {
namespace {

pid_t leader_of(const call_ptr& c) {
  auto records = c->with().db.read();
  if (!records.get(table::instances, c->at.key())) refuse(fault::not_found, "Instance not found");
  auto status = load<schema::InstanceStatus>(records, table::statuses, c->at.key());
  return status ? status->read([](auto s) { return s.getLeader(); }) : 0;
}

kj::Promise<std::string> console(const call_ptr& c, bool clear) {
  auto key = instance_key(c->at.head->project, c->at.name());
  return on_blocking_thread(c->at, [&with = c->with(), key, clear, leader = leader_of(c)]() -> outcome<std::string> {
    if (leader <= 0) return std::string{};
    return with.containers.console_log(key, clear);
  });
}

std::string log_dir(const call_ptr& c) {
  return c->with().dir.logs + "/" + instance_key(c->at.head->project, c->at.name());
}

using open_log_file = std::pair<std::shared_ptr<const unique_fd>, uint64_t>; // and its size

outcome<open_log_file> open_log(const std::string& path) {
  auto log = std::make_shared<const unique_fd>(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!*log || fstat(log->get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(fault::not_found, "Log file not found");
  return open_log_file{log, info.st_size};
}

} // namespace

kj::Promise<void> console_log(const call_ptr& c) {
  return console(c, false).then([c](std::string&& log) {
    c->results<bus::Instance::ConsoleLogResults>().setLog(kj::StringPtr{log.c_str(), log.size()}.asBytes());
  });
}

kj::Promise<void> clear_console_log(const call_ptr& c) {
  return console(c, true).then([](std::string&&) {});
}

kj::Promise<void> list_logs(const call_ptr& c) {
  static_cast<void>(leader_of(c));
  using results = bus::Instance::LogsResults;
  return reply_from_blocking_thread(c, [dir = log_dir(c)]() -> outcome<message<results>> {
    std::vector<std::string> names;
    std::error_code none;
    for (auto& entry : std::filesystem::directory_iterator{dir, none})
      names.push_back(entry.path().filename().string());
    return message<results>::make(
        [&](results::Builder out) { fill(out.initNames(static_cast<unsigned>(names.size())), names); });
  });
}

kj::Promise<void> read_log(const call_ptr& c) {
  static_cast<void>(leader_of(c));
  auto name = text(c->params<bus::Instance::ReadLogParams>().getName());
  if (name.empty() || name.find('/') != name.npos || name.starts_with('.'))
    refuse(fault::invalid, "Not a log file's name");
  return on_blocking_thread(c->at, [path = log_dir(c) + "/" + name] { return open_log(path); })
      .then([c](open_log_file&& log) {
        c->results<bus::Instance::ReadLogResults>().setSize(log.second);
        return send_file(c->at, log.first, log.second, c->params<bus::Instance::ReadLogParams>().getTo());
      });
}

} // namespace troupe::on_bus
