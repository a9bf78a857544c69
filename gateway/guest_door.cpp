#include "gateway/guest_door.hpp"

#include "gateway/door_limits.hpp"
#include "gateway/guest_api.hpp"
#include "runtime/log.hpp"

#include <algorithm>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr uint64_t body_bytes_max = 64 << 10;

std::string socket_in(const std::string& folder) { return folder + "/sock"; }

// The ids of the host that are the instance's root; nobody else inside may ask.
uint32_t root_of(schema::InstanceSpec::Reader spec, const expansion& effective) {
  return is_true(get(effective.config, "security.privileged")) ? 0 : spec.getIdmapBase();
}

} // namespace

guest_door::guest_door(services& with) : with_{with}, events_{with} {}

guest_door::~guest_door() { stop(); }

std::string guest_door::folder(uint64_t id) const { return with_.dir.lxc + "/.guests/" + std::to_string(id); }

outcome<std::string> guest_door::open(const open_guest& whom) {
  auto where = folder(whom.id);
  std::lock_guard one_at_a_time{changing_};
  if (stopped_) return fail(fault::busy, "The server is stopping");
  for (auto& made : {with_.dir.lxc + "/.guests", where})
    if ((::mkdir(made.c_str(), 0711) != 0 && errno != EEXIST) || ::chmod(made.c_str(), 0711) != 0)
      return fail_errno(errno, "Cannot make the folder " + made);
  if (!server_)
    server_ = std::make_unique<http_server>(
        with_.io, http_limits_of(door_kind::guests), with_.dir.spool,
        [](const http_request&) {
          return body_rule{false, body_bytes_max};
        },
        [this](http_request request, responder answer) { serve(std::move(request), std::move(answer)); });
  auto path = socket_in(where);
  leave(path);
  {
    std::lock_guard guard{lock_};
    residents_[path] = {whom.project, whom.name}; // before anybody can ask
  }
  // Whoever is in there may connect; who it is says the kernel.
  auto listening = server_->listen_unix(path, 0666);
  if (listening) return where;
  leave(path);
  return tl::unexpected{listening.error()};
}

void guest_door::leave(const std::string& path) {
  {
    std::lock_guard guard{lock_};
    if (!residents_.erase(path)) return;
  }
  if (!server_) return;
  server_->stop_listening(path);
  server_->disconnect([&](const http_peer& peer) { return peer.socket == path; });
}

void guest_door::close(uint64_t id) {
  auto where = folder(id);
  std::lock_guard one_at_a_time{changing_};
  leave(socket_in(where));
  ::unlink(socket_in(where).c_str()); // of a daemon that was killed
  ::rmdir(where.c_str());
}

// What a daemon that was killed left of instances that run no more.
void guest_door::sweep(const std::vector<open_guest>& running) {
  std::lock_guard one_at_a_time{changing_};
  std::error_code none;
  std::filesystem::create_directory(with_.dir.lxc + "/.guests", none);
  for (auto& entry : std::filesystem::directory_iterator{with_.dir.lxc + "/.guests", none}) {
    auto name = entry.path().filename().string();
    auto is_it = [&](const open_guest& each) { return std::to_string(each.id) == name; };
    bool starts = residents_.contains(socket_in(entry.path())); // written under changing_ only
    if (!starts && std::none_of(running.begin(), running.end(), is_it)) std::filesystem::remove_all(entry.path(), none);
  }
}

void guest_door::open_for_running() {
  auto records = with_.db.read();
  std::vector<open_guest> all;
  records.scan(table::statuses, "", [&](std::string_view key, std::string_view bytes) {
    bool runs = message<schema::InstanceStatus>::from_bytes(bytes).read([](auto s) { return s.getLeader() > 0; });
    auto spec = runs ? load<schema::InstanceSpec>(records, table::instances, key) : std::nullopt;
    if (spec) spec->read([&](auto s) { all.push_back({text(s.getProject()), text(s.getName()), s.getId()}); });
    return true;
  });
  sweep(all);
  for (auto& one : all)
    if (auto done = open(one); !done) log().warn("Guest API of {}: {}", one.name, done.error().message);
}

void guest_door::stop() {
  std::lock_guard one_at_a_time{changing_};
  stopped_ = true;
  server_.reset();
}

// On the loop's thread.
void guest_door::serve(http_request request, responder answer) {
  resident who;
  {
    std::lock_guard guard{lock_};
    auto at = residents_.find(request.peer.socket);
    if (at == residents_.end()) return answer.send(guest_error(403, "not authorized"));
    who = at->second;
  }
  try {
    auto records = with_.db.read();
    auto spec = load<schema::InstanceSpec>(records, table::instances, in_project(who.project, who.name));
    if (!spec) return answer.send(guest_error(403, "not authorized"));
    auto effective = spec->read([&](schema::InstanceSpec::Reader s) { return expand(records, s); });
    if (request.peer.uid != spec->read([&](auto s) { return root_of(s, effective); }))
      return answer.send(guest_error(401, "Access denied for non-root user"));
    answer_guest(std::make_shared<guest_request>(
        guest_request{with_, events_, std::move(request), answer, who.project, who.name, *spec, std::move(effective)}));
  } catch (const std::exception& broken) { // of a record or a request; never the end of the daemon
    log().error("Guest API of {}: {}", who.name, broken.what());
    answer.send(guest_error(500, "internal server error"));
  }
}

} // namespace troupe
