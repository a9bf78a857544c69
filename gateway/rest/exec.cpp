#include "actors/instance.hpp"
#include "actors/operation_record.hpp"
#include "gateway/exec_request.hpp"
#include "gateway/rest/exec_streams.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/routes.hpp"
#include "runtime/uuid.hpp"

#include <caf/typed_event_based_actor.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {
namespace {

std::map<std::string, std::string> make_secrets(bool interactive) {
  std::map<std::string, std::string> out{{"0", random_hex(32)}, {"control", random_hex(32)}};
  if (!interactive)
    for (auto stream : {"1", "2"}) out[stream] = random_hex(32);
  return out;
}

} // namespace

void post_exec(const rest_request& from) {
  auto body = body_of<schema::ExecInstance>(from);
  if (!body) return reply_error(from, body.error());
  body->read([&](schema::ExecInstance::Reader post) {
    auto records = from.with().db.read();
    auto plan = plan_exec(records, in_project(from.head->project, from.parameter(0)), post);
    if (!plan) return reply_error(from, plan.error());
    exec_facts facts{from.head->project, from.parameter(0), from.head->who.username};
    facts.interactive = post.getInteractive();
    bool sockets = post.getWaitForWebsocket();
    if (!sockets) facts.output = post.getRecordOutput() ? exec_output::recording : exec_output::nowhere;
    if (sockets) facts.secrets = make_secrets(facts.interactive);
    ask<operation_record>(
        from, role::operations,
        [from, plan = *plan, facts](const outcome<operation_record>& record) mutable {
          if (!record) return reply_error(from, record.error());
          auto id = id_of(*record);
          auto secrets = facts.secrets;
          bool interactive = facts.interactive;
          facts.operation = *record;
          auto streams = std::make_shared<exec_streams>(from.context, std::move(facts), plan, from.head);
          auto& owner = from.head->who.username;
          if (secrets.empty()) {
            from.context.streams.open(id, owner, {}, {}, streams); // to be cut with him
            reply_operation(from, *record);
            return from.with().io.post([streams] { streams->start(); });
          }
          auto required =
              interactive ? std::vector<std::string>{"0", "control"} : std::vector<std::string>{"0", "1", "2"};
          streams->expect(required);
          from.context.streams.open(id, owner, secrets, required, streams);
          reply_operation(from, *record, nlohmann::json{{"fds", secrets}}.dump());
        },
        exec_operation(from.head, type_of(from.with().db.read(), from.head->project, from.parameter(0)),
                       from.parameter(0), post));
  });
}

namespace {

outcome<window_size> window_in(const rest_request& from) {
  window_size out;
  if (from.http->body.empty()) return out;
  auto json = json_body(from);
  if (!json) return tl::unexpected{json.error()};
  if (!json->is_object()) return fail(fault::invalid, "The body must be an object");
  for (auto& [key, value] : json->items()) {
    auto* field = key == "width" ? &out.width : key == "height" ? &out.height : nullptr;
    if (!field) return fail(fault::invalid, "Unknown field \"" + key + "\"");
    if (!value.is_number_unsigned() || value.get<uint64_t>() > 65535)
      return fail(fault::invalid, "\"" + key + "\" must be a number from 0 to 65535");
    *field = value.get<uint16_t>();
  }
  return out;
}

} // namespace

void attach_operation(const rest_request& from) {
  auto size = window_in(from);
  if (!size) return reply_error(from, size.error());
  ask<operation_record>(
      from, role::operations,
      [from, size = *size](const outcome<operation_record>& record) {
        if (auto judged = judge_attach(from.head->who, record); !judged) return reply_error(from, judged.error());
        from.context.streams.attach(from.parameter(0), from.head->who.username, size,
                                    [from](const outcome<live_streams::secret_map>& secrets) {
                                      if (!secrets) return reply_error(from, secrets.error());
                                      reply_sync(from, nlohmann::json{{"fds", *secrets}}.dump());
                                    });
      },
      find_operation{from.parameter(0)});
}

} // namespace troupe
