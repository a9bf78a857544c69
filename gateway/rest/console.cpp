#include "actors/operation_record.hpp"
#include "gateway/exec_request.hpp"
#include "gateway/file_events.hpp"
#include "gateway/rest/console_streams.hpp"
#include "gateway/rest/display_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "runtime/uuid.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

std::optional<status_record> status_of(const rest_request& from) {
  auto records = from.with().db.read();
  auto key = in_project(from.head->project, from.parameter(0));
  if (!records.get(table::instances, key)) return std::nullopt;
  return load<schema::InstanceStatus>(records, table::statuses, key).value_or(status_record{});
}

outcome<void> check(const rest_request& from, std::string_view type) {
  bool screen = type == "vga" || type == "vnc";
  auto kind = type_of(from.with().db.read(), from.head->project, from.parameter(0));
  if (screen && kind != schema::InstanceType::VIRTUAL_MACHINE)
    return fail(fault::invalid, "Only virtual machines have a VGA console");
  if (!type.empty() && type != "console" && !screen)
    return fail(fault::invalid, "Unknown console type: " + std::string{type});
  auto status = status_of(from);
  if (!status) return fail(fault::not_found, "Instance not found");
  auto state = status->read([](auto s) { return s.getState(); });
  if (state == instance_state::FROZEN) return fail(fault::wrong_state, "Instance is frozen");
  if (state != instance_state::RUNNING) return fail(fault::wrong_state, "Instance is not running");
  return {};
}

void tell(const rest_request& from, std::string_view action, const config_map& context = {}) {
  tell_instance_event(from.with(), *from.head, from.parameter(0), action, "", context);
}

void with_log(const rest_request& from, bool clear) {
  auto status = status_of(from);
  if (!status) return reply_error(from, {fault::not_found, "Instance not found"});
  auto leader = status->read([](auto s) { return s.getLeader(); });
  bool taken = from.with().blocking.submit([from, clear, leader] {
    auto key = instance_key(from.head->project, from.parameter(0));
    auto& driver = from.with().driver(type_of(from.with().db.read(), from.head->project, from.parameter(0)));
    outcome<std::string> text = leader > 0 ? driver.console_log(key, clear) : outcome<std::string>{""};
    if (!text) return reply_error(from, text.error());
    tell(from, clear ? "instance-console-reset" : "instance-console-retrieved");
    if (clear) return reply_sync(from, "{}");
    http_response out;
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.body.emplace_back(std::move(*text));
    from.answer.send(std::move(out));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace

namespace {

// Its type "vnc" is ours: the same screen for those who speak that.
void show_screen(const rest_request& from, const std::string& type, begin_live live) {
  ask<operation_record>(
      from, role::operations,
      [from, type](const outcome<operation_record>& record) {
        if (!record) return reply_error(from, record.error());
        auto id = id_of(*record);
        std::map<std::string, std::string> secrets{{"0", random_hex(32)}, {"control", random_hex(32)}};
        auto streams = std::make_shared<display_streams>(from, id, type == "vnc" ? "vnc" : "spice");
        from.context.streams.open(id, from.head->who.username, secrets, {"control"}, streams);
        tell(from, "instance-console", {{"type", type}});
        reply_operation(from, *record, nlohmann::json{{"fds", secrets}}.dump());
      },
      std::move(live));
}

void send_screenshot(const rest_request& from) {
  if (auto good = check(from, "vga"); !good) return reply_error(from, good.error());
  bool taken = from.with().blocking.submit([from] {
    auto picture = from.with().machines.screenshot(instance_key(from.head->project, from.parameter(0)));
    if (!picture) return reply_error(from, picture.error());
    http_response out;
    out.headers.emplace_back("Content-Type", "image/png");
    out.body.emplace_back(std::move(*picture));
    from.answer.send(std::move(out));
  });
  if (!taken) reply_error(from, {fault::busy, "The server has too much to do right now; try again"});
}

} // namespace

void get_instance_console(const rest_request& from) {
  if (from.http->parameter("type") == "vga") return send_screenshot(from);
  with_log(from, false);
}
void delete_instance_console(const rest_request& from) { with_log(from, true); }

void post_console(const rest_request& from) {
  auto body = body_of<schema::InstanceConsole>(from);
  if (!body) return reply_error(from, body.error());
  auto [type, width, height] = body->read([](schema::InstanceConsole::Reader post) {
    return std::tuple{text(post.getType()), static_cast<uint16_t>(std::clamp(post.getWidth(), 0, 65535)),
                      static_cast<uint16_t>(std::clamp(post.getHeight(), 0, 65535))};
  });
  if (auto good = check(from, type); !good) return reply_error(from, good.error());
  auto live = console_operation(from.head, type_of(from.with().db.read(), from.head->project, from.parameter(0)),
                                from.parameter(0));
  if (type == "vga" || type == "vnc") return show_screen(from, type, std::move(live));
  ask<operation_record>(
      from, role::operations,
      [from, width = width, height = height](const outcome<operation_record>& record) {
        if (!record) return reply_error(from, record.error());
        auto id = id_of(*record);
        std::map<std::string, std::string> secrets{{"0", random_hex(32)}, {"control", random_hex(32)}};
        auto streams = std::make_shared<console_streams>(from, id, width, height);
        from.context.streams.open(id, from.head->who.username, secrets, {"0"}, streams);
        tell(from, "instance-console", {{"type", "console"}});
        reply_operation(from, *record, nlohmann::json{{"fds", secrets}}.dump());
      },
      std::move(live));
}

} // namespace troupe
