#include "actors/security_event.hpp"

#include "messages/json.hpp"
#include "runtime/listen_address.hpp"

#include <iterator>

namespace troupe {
namespace {

constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};

std::string metadata_of(const header& head, std::string_view name, schema::Event::Level level,
                        const std::string& description, const config_map& context) {
  config_map requestor{{"username", head.who.username}, {"protocol", head.who.protocol}, {"address", head.who.address}};
  auto write_map = [](std::string& out, std::string_view key, const config_map& map) {
    write_json_name(out, key);
    out += '{';
    for (auto& [each, value] : map) {
      write_json_name(out, each);
      write_json_string(out, value);
    }
    out += '}';
  };
  std::string out = "{";
  for (auto& [key, value] : {std::pair<std::string_view, std::string_view>{"name", name},
                             {"level", level_names[static_cast<size_t>(level) % std::size(level_names)]},
                             {"description", description},
                             {"request_id", head.request_id}}) {
    write_json_name(out, key);
    write_json_string(out, value);
  }
  write_map(out, "requestor", requestor);
  write_map(out, "context", context);
  return out + '}';
}

} // namespace

message<schema::Event> security_event(const header& head, std::string_view name, schema::Event::Level level,
                                      const std::string& description, const config_map& context) {
  auto shown = metadata_of(head, name, level, description, context);
  return message<schema::Event>::make([&](schema::Event::Builder event) {
    event.setType(schema::Event::Type::SECURITY);
    event.setLevel(level);
    event.setKind("security");
    event.setEntity(head.who.username.empty() ? host_of(head.who.address) : head.who.username);
    event.setAction(std::string{name});
    event.setMetadata(shown);
    fill(event.initRequestor(), head.who);
  });
}

} // namespace troupe
