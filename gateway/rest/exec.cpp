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
    using output = exec_streams::output;
    bool sockets = post.getWaitForWebsocket(), interactive = post.getInteractive();
    auto to = sockets ? output::websockets : post.getRecordOutput() ? output::recording : output::nowhere;
    ask<operation_record>(
        from, role::operations,
        [from, plan = *plan, sockets, to, interactive](const outcome<operation_record>& record) {
          if (!record) return reply_error(from, record.error());
          auto id = id_of(*record);
          auto streams = std::make_shared<exec_streams>(from, id, plan, to);
          auto& owner = from.head->who.username;
          if (!sockets) {
            from.context.streams.open(id, owner, {}, {}, streams); // to be cut with him
            reply_operation(from, *record);
            return from.with().io.post([streams] { streams->start(); });
          }
          auto secrets = make_secrets(interactive);
          auto required =
              interactive ? std::vector<std::string>{"0", "control"} : std::vector<std::string>{"0", "1", "2"};
          streams->expect(required);
          from.context.streams.open(id, owner, secrets, required, streams);
          reply_operation(from, *record, nlohmann::json{{"fds", secrets}}.dump());
        },
        exec_operation(from.head, from.parameter(0), post));
  });
}

} // namespace troupe
