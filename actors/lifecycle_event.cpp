#include "actors/lifecycle_event.hpp"

#include "messages/json.hpp"
#include "messages/time.hpp"

namespace troupe {
namespace {

constexpr std::string_view protocol_names[] = {"unix", "tls", "oidc", "cluster", "internal"};

schema::Principal::Protocol protocol_of(std::string_view name) {
  for (size_t i = 0; i < std::size(protocol_names); ++i)
    if (protocol_names[i] == name) return static_cast<schema::Principal::Protocol>(i);
  return schema::Principal::Protocol::INTERNAL;
}

struct state_row {
  schema::Operation::State state;
  status_word shown;
};
constexpr state_row state_rows[] = {
    {schema::Operation::State::PENDING, {"Pending", 105}},
    {schema::Operation::State::RUNNING, {"Running", 103}},
    {schema::Operation::State::CANCELLING, {"Cancelling", 104}},
    {schema::Operation::State::SUCCEEDED, {"Success", 200}},
    {schema::Operation::State::FAILED, {"Failure", 400}},
    {schema::Operation::State::CANCELLED, {"Cancelled", 401}},
    {schema::Operation::State::ROLLED_BACK, {"Failure", 400}},
    {schema::Operation::State::UNKNOWN, {"Failure", 400}},
};

void write_requestor(std::string& out, schema::Principal::Reader who) {
  write_json_name(out, "requestor");
  out += '{';
  write_json_name(out, "username");
  write_json_string(out, view(who.getUsername()));
  write_json_name(out, "protocol");
  write_json_string(out, protocol_names[static_cast<size_t>(who.getProtocol())]);
  write_json_name(out, "address");
  write_json_string(out, view(who.getAddress()));
  out += '}';
}

void write_lifecycle(std::string& out, schema::Event::Reader event) {
  out += '{';
  write_json_name(out, "action");
  write_json_string(out, view(event.getAction()));
  write_json_name(out, "source");
  write_json_string(out, view(event.getSource()));
  if (event.getContext().size() > 0) {
    write_json_name(out, "context");
    out += '{';
    for (auto entry : event.getContext()) {
      write_json_name(out, view(entry.getKey()));
      write_json_string(out, view(entry.getValue()));
    }
    out += '}';
  }
  if (event.hasRequestor()) write_requestor(out, event.getRequestor());
  out += '}';
}

constexpr std::string_view type_names[] = {"lifecycle", "operation", "logging", "security"};

} // namespace

void fill(schema::Principal::Builder into, const principal& from) {
  into.setUsername(from.username);
  into.setProtocol(protocol_of(from.protocol));
  into.setAddress(from.address);
  into.setUid(from.uid);
}

message<schema::Event> lifecycle_event(const header& head, std::string_view kind, std::string_view entity,
                                       std::string_view action, std::string_view source, const config_map& context) {
  return message<schema::Event>::make([&](schema::Event::Builder event) {
    event.setType(schema::Event::Type::LIFECYCLE);
    event.setProject(head.project);
    event.setKind(std::string{kind});
    event.setEntity(std::string{entity});
    event.setAction(std::string{action});
    bool plain = head.project.empty() || head.project == "default";
    event.setSource(std::string{source} + (plain ? "" : "?project=" + head.project));
    fill(event.initContext(static_cast<unsigned>(context.size())), context);
    if (head.who.protocol != "internal") fill(event.initRequestor(), head.who);
  });
}

message<schema::Event> restart_event(const std::string& actor, const std::string& why) {
  header nobody;
  nobody.project.clear();
  return lifecycle_event(nobody, "actor", actor, "actor-restarted", "/1.0", {{"reason", why}});
}

message<schema::Event> operation_event(const message<schema::Operation>& record) {
  auto shown = operation_json(record);
  return record.read([&](schema::Operation::Reader op) {
    return message<schema::Event>::make([&](schema::Event::Builder event) {
      event.setType(schema::Event::Type::OPERATION);
      event.setProject(op.getProject());
      event.setKind("operation");
      event.setEntity(op.getId());
      event.setAction(std::string{status_of(op.getState()).word});
      event.setSource("/1.0/operations/" + text(op.getId()));
      event.setMetadata(shown);
    });
  });
}

std::string operation_json(const message<schema::Operation>& record) {
  std::string out = "{";
  record.read([&](schema::Operation::Reader op) {
    write_json_fields(out, op);
    auto shown = status_of(op.getState());
    write_json_name(out, "status");
    write_json_string(out, shown.word);
    write_json_name(out, "status_code");
    out += std::to_string(shown.code);
    if (op.getState() != schema::Operation::State::UNKNOWN) return;
    write_json_name(out, "state"); // our own: neither completed nor undone
    write_json_string(out, "unknown");
  });
  out += '}';
  return out;
}

status_word status_of(schema::Operation::State state) {
  for (auto& row : state_rows)
    if (row.state == state) return row.shown;
  return {"Failure", 400};
}

std::string_view type_name(schema::Event::Type type) { return type_names[static_cast<size_t>(type)]; }

std::string event_json(schema::Event::Reader event, std::string_view cursor) {
  std::string out = "{";
  write_json_name(out, "type");
  write_json_string(out, type_name(event.getType()));
  write_json_name(out, "timestamp");
  write_json_string(out, to_rfc3339(event.getTime()));
  write_json_name(out, "metadata");
  if (event.getType() == schema::Event::Type::LIFECYCLE)
    write_lifecycle(out, event);
  else
    out += view(event.getMetadata());
  write_json_name(out, "location");
  write_json_string(out, view(event.getMember()));
  if (event.getProject().size() > 0) {
    write_json_name(out, "project");
    write_json_string(out, view(event.getProject()));
  }
  if (!cursor.empty()) {
    write_json_name(out, "cursor");
    write_json_string(out, cursor);
  }
  out += '}';
  return out;
}

} // namespace troupe
