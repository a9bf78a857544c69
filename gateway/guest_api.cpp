#include "gateway/guest_api.hpp"

#include "actors/guest.hpp"
#include "actors/instance.hpp"
#include "actors/project_keys.hpp"
#include "gateway/door.hpp"
#include "gateway/image_export.hpp"

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/socket.h>

namespace troupe {
namespace {

using json = nlohmann::json;
using request_ptr = std::shared_ptr<guest_request>;

http_response plain(int status, std::string_view type, std::string body) {
  http_response out;
  out.status = status;
  out.headers.emplace_back("Content-Type", type);
  out.body.emplace_back(std::move(body));
  return out;
}

void send(const request_ptr& from, const json& body) {
  from->answer.send(plain(200, "application/json", body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"));
}
void send_text(const request_ptr& from, std::string body) {
  from->answer.send(plain(200, "application/octet-stream", std::move(body)));
}
void refuse(const request_ptr& from, int status, const std::string& sentence) {
  from->answer.send(guest_error(status, sentence));
}

void get_versions(const request_ptr& from) { send(from, json::array({"/1.0"})); }

void get_self(const request_ptr& from) {
  auto status =
      load<schema::InstanceStatus>(from->with.db.read(), table::statuses, in_project(from->project, from->name));
  bool ready = status && status->read([](schema::InstanceStatus::Reader s) { return s.getReady(); });
  send(from, {{"api_version", "1.0"},
              {"instance_type", "container"},
              {"location", "none"},
              {"state", ready ? "Ready" : "Started"}});
}

void patch_self(const request_ptr& from) {
  auto body = json::parse(from->http.body, nullptr, false);
  auto state = body.is_object() ? body.value("state", json{}) : json{};
  if (state != "Ready" && state != "Started") return refuse(from, 400, "Invalid state");
  ask_through<void>(
      role::rest_door, from->with, role::instances,
      [from](const outcome<void>& done) {
        if (!done) return refuse(from, to_http(done.error().code), done.error().message);
        send_text(from, "");
      },
      to_instance{from->project, from->name}, guest_ready{state == "Ready"});
}

void get_config_list(const request_ptr& from) {
  auto list = json::array();
  for (auto& [key, value] : from->effective.config)
    if (is_shown_to_guest(key)) list.push_back("/1.0/config/" + key);
  send(from, list);
}

void get_config(const request_ptr& from) {
  auto& key = from->http.segments[2];
  if (!is_shown_to_guest(key)) return refuse(from, 403, "not authorized");
  auto at = from->effective.config.find(key);
  if (at == from->effective.config.end()) return refuse(from, 404, "not found");
  send_text(from, at->second);
}

void get_meta_data(const request_ptr& from) {
  auto& config = from->effective.config;
  std::ostringstream out;
  out << "#cloud-config\ninstance-id: " << get(config, "volatile.cloud-init.instance-id", from->name)
      << "\nlocal-hostname: " << from->name << "\n"
      << get(config, "user.meta-data");
  send_text(from, out.str());
}

void get_devices(const request_ptr& from) {
  auto all = json::object();
  for (auto& [name, device] : from->effective.devices) {
    auto& one = all[name] = json::object();
    for (auto& [key, value] : device) one[key] = value;
    auto hwaddr = get(from->effective.config, "volatile." + name + ".hwaddr");
    if (get(device, "type") == "nic" && !one.contains("hwaddr") && !hwaddr.empty()) one["hwaddr"] = hwaddr;
  }
  send(from, all);
}

/// Our end of an answer that goes on.
struct event_stream {
  unique_fd ours;
  std::shared_ptr<void> listening;
  loop::handle_ptr watch;

  bool tell(const std::string& event) { // who does not read loses the stream
    auto line = event + "\n";
    if (::send(ours.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(line.size()))
      return true;
    ::shutdown(ours.get(), SHUT_RDWR);
    return false;
  }
};

// A stream of JSON objects, as a websocket or as the body of an answer that does not end.
void get_events(const request_ptr& from) {
  guest_events::listener who{from->project, from->name, {}, {}};
  std::istringstream types{std::string{from->http.parameter("type")}};
  for (std::string type; std::getline(types, type, ',');) {
    if (type != "config" && type != "device") return refuse(from, 400, "Unknown type of events: " + type);
    who.types.insert(type);
  }
  if (from->http.wants_websocket)
    return from->answer.accept_websocket([from, who](std::shared_ptr<websocket> socket) mutable {
      std::weak_ptr<websocket> weak = socket;
      who.tell = [weak](const std::string& event) {
        auto to = weak.lock();
        return to && to->send_text(std::make_shared<const std::string>(event));
      };
      socket->on_message([](const std::string&, bool) {});
      socket->on_close([socket, held = from->events.listen(std::move(who))]() mutable {
        held.reset();
        socket.reset();
      });
    });
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return refuse(from, 500, "internal server error");
  auto stream = std::make_shared<event_stream>();
  stream->ours.reset(ends[0]);
  unique_fd theirs{ends[1]};
  who.tell = [weak = std::weak_ptr{stream}](const std::string& event) {
    auto to = weak.lock();
    return to && to->tell(event);
  };
  stream->listening = from->events.listen(std::move(who));
  // Nothing is ever sent to us: readable is the end. Until then this is what keeps the stream.
  stream->watch = from->with.io.watch_readable(stream->ours.get(), [stream] {
    auto last = stream;
    last->listening.reset();
    last->watch.reset();
  });
  http_response out;
  out.headers.emplace_back("Content-Type", "application/json");
  out.body.emplace_back(pipe_stream{std::move(theirs)});
  from->answer.send(std::move(out));
}

void export_image_to_guest(const request_ptr& from) {
  auto& config = from->effective.config;
  if (!is_true(get(config, "security.devlxd.images"))) return refuse(from, 403, "not authorized");
  auto records = from->with.db.read();
  auto home = home_of(records, from->project, feature::images);
  auto& fingerprint = from->http.segments[2];
  auto image = load<schema::ImageSpec>(records, table::images, in_project(home, fingerprint));
  auto [shown, split] = image ? image->read([](schema::ImageSpec::Reader i) {
    return std::pair{i.getPublic() || i.getCached(), i.getSplit()};
  })
                              : std::pair{false, false};
  if (!shown) return refuse(from, 404, "not found");
  bool taken = from->with.blocking.submit([from, fingerprint, split = split] {
    auto file = image_export(from->with, fingerprint, split);
    file ? from->answer.send(std::move(*file)) : refuse(from, to_http(file.error().code), file.error().message);
  });
  if (!taken) refuse(from, 503, "The server has too much to do right now; try again");
}

struct guest_route {
  std::string_view method;
  std::string_view pattern; // "*" is any one segment
  void (*handle)(const request_ptr&);
};
constexpr guest_route routes[] = {
    {"GET", "", get_versions},
    {"GET", "1.0", get_self},
    {"PATCH", "1.0", patch_self},
    {"GET", "1.0/config", get_config_list},
    {"GET", "1.0/config/*", get_config},
    {"GET", "1.0/meta-data", get_meta_data},
    {"GET", "1.0/devices", get_devices},
    {"GET", "1.0/events", get_events},
    {"GET", "1.0/images/*/export", export_image_to_guest},
};

bool fits(std::string_view pattern, const std::vector<std::string>& segments) {
  for (auto& segment : segments) {
    auto part = pattern.substr(0, pattern.find('/'));
    if (part.empty() || (part != "*" && part != segment)) return false;
    pattern.remove_prefix(std::min(part.size() + 1, pattern.size()));
  }
  return pattern.empty();
}

} // namespace

http_response guest_error(int status, const std::string& sentence) {
  return plain(status, "text/plain; charset=utf-8", sentence + "\n");
}

void answer_guest(const request_ptr& from) {
  if (get(from->effective.config, "security.devlxd", "true") == "false") return refuse(from, 403, "not authorized");
  bool known = false;
  for (auto& row : routes) {
    if (!fits(row.pattern, from->http.segments)) continue;
    known = true;
    if (row.method == from->http.method) return row.handle(from);
  }
  refuse(from, known ? 405 : 404, known ? "method not allowed" : "not found");
}

} // namespace troupe
