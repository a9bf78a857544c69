#include "gateway/bus/bytes.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/page.hpp"
#include "gateway/instance_logs.hpp"

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
  auto& driver = c->with().driver(type_of(c->with().db.read(), c->at.head->project, c->at.name()));
  return on_blocking_thread(c->at, [&driver, key, clear, leader = leader_of(c)]() -> outcome<std::string> {
    if (leader <= 0) return std::string{};
    return driver.console_log(key, clear);
  });
}

instance_logs logs_of(const call_ptr& c) {
  static_cast<void>(leader_of(c)); // is there such an instance?
  return {c->with(), c->at.head->project, c->at.name()};
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
  using results = bus::Instance::LogsResults;
  return reply_from_blocking_thread(c, [logs = logs_of(c)]() -> outcome<message<results>> {
    return logs.list(instance_logs::kind::log).map([](const std::vector<std::string>& names) {
      return message<results>::make(
          [&](results::Builder out) { fill(out.initNames(static_cast<unsigned>(names.size())), names); });
    });
  });
}

kj::Promise<void> read_log(const call_ptr& c) {
  auto name = text(c->params<bus::Instance::ReadLogParams>().getName());
  return on_blocking_thread(c->at, [logs = logs_of(c), name] { return logs.open(instance_logs::kind::log, name); })
      .then([c](instance_logs::file&& log) {
        c->results<bus::Instance::ReadLogResults>().setSize(log.size);
        auto content = std::make_shared<const unique_fd>(std::move(log.content));
        return send_file(c->at, std::move(content), log.size, c->params<bus::Instance::ReadLogParams>().getTo());
      });
}

} // namespace troupe::on_bus
