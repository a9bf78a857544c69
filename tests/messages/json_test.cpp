#include "messages/image.capnp.h"
#include "messages/instance.capnp.h"
#include "messages/json.hpp"
#include "messages/json_plan.hpp"
#include "messages/json_read.hpp"
#include "messages/network.capnp.h"
#include "messages/operation.capnp.h"
#include "messages/profile.capnp.h"
#include "messages/server.capnp.h"
#include "messages/storage.capnp.h"

#include <capnp/schema-loader.h>
#include <catch2/catch.hpp>

using namespace troupe;
using nlohmann::json;

namespace {

using names = std::vector<std::string>;

template <class Schema>
names accepted() {
  names out;
  for (auto& row : json_detail::plan_of(capnp::Schema::from<Schema>())) out.push_back(row.name);
  std::sort(out.begin(), out.end());
  return out;
}

names sorted(names list) {
  std::sort(list.begin(), list.end());
  return list;
}

/// Both what a client may send and what an empty object shows.
template <class Schema>
void check_names(names expected) {
  expected = sorted(std::move(expected));
  CHECK(accepted<Schema>() == expected);
  names shown;
  auto object = json::parse(to_json(message<Schema>{}));
  for (auto& [name, value] : object.items()) shown.push_back(name);
  CHECK(shown == expected); // nlohmann orders by name
}

template <class Schema>
json shown(const message<Schema>& from) {
  return json::parse(to_json(from));
}

template <class Schema>
outcome<message<Schema>> read(std::string_view text) {
  auto parsed = parse_json_text(text);
  if (!parsed) return tl::unexpected{parsed.error()};
  return message_from<Schema>(*parsed);
}

template <class Schema>
std::string refusal(std::string_view text) {
  auto made = read<Schema>(text);
  if (made) return "";
  CHECK(made.error().code == fault::invalid);
  return made.error().message;
}

std::string json_text_of(std::string_view text) {
  std::string out;
  write_json_string(out, text);
  return out;
}

/// A copy of `Like` under another id, whose fields carry the given annotations.
template <class Like>
capnp::StructSchema annotated(capnp::SchemaLoader& loader, uint64_t id,
                              const std::vector<std::vector<uint64_t>>& notes) {
  capnp::MallocMessageBuilder builder;
  builder.setRoot(capnp::Schema::from<Like>().getProto());
  auto node = builder.getRoot<capnp::schema::Node>();
  node.setId(id);
  auto fields = node.getStruct().getFields();
  for (unsigned i = 0; i < notes.size(); ++i) {
    auto list = fields[i].initAnnotations(static_cast<unsigned>(notes[i].size()));
    for (unsigned n = 0; n < notes[i].size(); ++n) {
      list[n].setId(notes[i][n]);
      list[n].initValue().setVoid();
    }
  }
  return loader.load(node.asReader()).asStruct();
}

constexpr uint64_t hidden = 0xbccdd26e4ef41a00, secret = 0x87c3de921ee38d08, omit_empty = 0x81b8448197bad408;

} // namespace

// The lists are those of LXD 5.0. Fields that belong to a later extension are left out on purpose.

TEST_CASE("An instance has LXD's fields") {
  // The REST layer adds what is not in the record: status, status_code, last_used_at, expanded_config,
  // expanded_devices.
  check_names<schema::InstanceSpec>({"name", "description", "created_at", "location", "type", "project", "architecture",
                                     "ephemeral", "stateful", "profiles", "config", "devices"});
}

TEST_CASE("Requests about instances have LXD's fields") {
  check_names<schema::CreateInstance>({"architecture", "config", "devices", "ephemeral", "profiles", "restore",
                                       "stateful", "description", "name", "source", "instance_type", "type"});
  check_names<schema::InstanceSource>({"type", "certificate", "alias", "fingerprint", "properties", "server", "secret",
                                       "protocol", "base-image", "mode", "operation", "secrets", "source", "live",
                                       "instance_only", "container_only", "refresh", "project", "allow_inconsistent"});
  check_names<schema::UpdateInstance>(
      {"architecture", "config", "devices", "ephemeral", "profiles", "restore", "stateful", "description"});
  check_names<schema::ChangeInstanceState>({"action", "timeout", "force", "stateful"});
  check_names<schema::RenameInstance>({"name", "migration", "live", "instance_only", "container_only", "target", "pool",
                                       "project", "allow_inconsistent"});
  check_names<schema::InstancePostTarget>({"certificate", "operation", "secrets"});
  check_names<schema::ExecInstance>({"command", "wait-for-websocket", "interactive", "environment", "width", "height",
                                     "record-output", "user", "group", "cwd"});
  check_names<schema::ExecControl>({"command", "args", "signal"});
  check_names<schema::InstanceConsole>({"width", "height", "type"});
}

TEST_CASE("The state of an instance has LXD's fields at every level") {
  using state = schema::InstanceState;
  check_names<state>({"status", "status_code", "disk", "memory", "network", "pid", "processes", "cpu"});
  check_names<state::Disk::Usage>({"usage"});
  check_names<state::Memory>({"usage", "usage_peak", "swap_usage", "swap_usage_peak"});
  check_names<state::Cpu>({"usage"});
  check_names<state::Interface>({"addresses", "counters", "hwaddr", "host_name", "mtu", "state", "type"});
  check_names<state::Address>({"family", "address", "netmask", "scope"});
  check_names<state::Counters>({"bytes_received", "bytes_sent", "packets_received", "packets_sent", "errors_received",
                                "errors_sent", "packets_dropped_outbound", "packets_dropped_inbound"});
}

TEST_CASE("Images and aliases have LXD's fields") {
  // The REST layer adds aliases; update_source is omitted, as LXD does for an image that was uploaded.
  check_names<schema::ImageSpec>({"architecture", "cached", "public", "filename", "fingerprint", "size", "auto_update",
                                  "type", "created_at", "expires_at", "last_used_at", "uploaded_at", "properties",
                                  "profiles"});
  check_names<schema::ImageAliasEntry>({"name", "description", "type", "target"});
  check_names<schema::ImageAlias>({"name", "description"});
  check_names<schema::ImagePut>({"auto_update", "properties", "public", "expires_at", "profiles"});
  check_names<schema::ImagesPost>({"auto_update", "properties", "public", "expires_at", "profiles", "filename",
                                   "source", "compression_algorithm", "aliases"});
  check_names<schema::ImagesPost::Source>({"alias", "certificate", "protocol", "server", "image_type", "mode", "type",
                                           "url", "name", "fingerprint", "secret", "project"});
  check_names<schema::ImageAliasesPost>({"name", "description", "type", "target"});
  check_names<schema::ImageAliasPut>({"description", "target"});
  check_names<schema::ImageMetadata>({"architecture", "creation_date", "expiry_date", "properties", "templates"});
  check_names<schema::ImageMetadata::Template>({"when", "create_only", "template", "properties"});
}

TEST_CASE("Profiles, networks and storage have LXD's fields") {
  check_names<schema::ProfileSpec>({"name", "description", "config", "devices"}); // REST adds used_by
  check_names<schema::ProfilesPost>({"config", "description", "devices", "name"});
  check_names<schema::ProfilePut>({"config", "description", "devices"});
  check_names<schema::NetworkSpec>(
      {"name", "description", "type", "config"}); // REST adds managed, status, used_by, locations
  check_names<schema::NetworksPost>({"config", "description", "name", "type"});
  check_names<schema::NetworkPut>({"config", "description"});
  check_names<schema::NetworkLease>({"hostname", "hwaddr", "address", "type", "location"});
  // bond, vlan and ovn are left out: we make bridges only.
  check_names<schema::NetworkState>({"addresses", "counters", "hwaddr", "mtu", "state", "type", "bridge"});
  check_names<schema::NetworkState::Bridge>(
      {"id", "stp", "forward_delay", "vlan_default", "vlan_filtering", "upper_devices"});
  check_names<schema::PoolSpec>({"name", "description", "driver", "config"}); // REST adds status, used_by, locations
  check_names<schema::PoolsPost>({"config", "description", "name", "driver"});
  // REST adds used_by.
  check_names<schema::VolumeSpec>(
      {"name", "description", "type", "content_type", "project", "location", "created_at", "config"});
  check_names<schema::VolumeState::Usage>({"used", "total"});
}

TEST_CASE("Operations and the server have LXD's fields") {
  // The REST layer works out status and status_code from the state.
  check_names<schema::Operation>({"id", "class", "description", "created_at", "updated_at", "resources", "metadata",
                                  "may_cancel", "err", "location"});
  // auth_user_name and auth_user_method are added by the REST layer.
  check_names<schema::Server>(
      {"api_extensions", "api_status", "api_version", "auth", "public", "auth_methods", "config", "environment"});
  check_names<schema::Server::Environment>({"addresses",
                                            "architectures",
                                            "certificate",
                                            "certificate_fingerprint",
                                            "driver",
                                            "driver_version",
                                            "firewall",
                                            "kernel",
                                            "kernel_architecture",
                                            "kernel_features",
                                            "kernel_version",
                                            "lxc_features",
                                            "os_name",
                                            "os_version",
                                            "project",
                                            "server",
                                            "server_clustered",
                                            "server_event_mode",
                                            "server_name",
                                            "server_pid",
                                            "server_version",
                                            "storage",
                                            "storage_version",
                                            "storage_supported_drivers"});
  check_names<schema::Server::StorageDriver>({"Name", "Version", "Remote"});
}

TEST_CASE("A request survives being read and written") {
  auto text = R"({"architecture":"x86_64","config":{"limits.cpu":"2","user.a":"ü\n\"\\"},
    "devices":{"eth0":{"network":"br0","type":"nic"},"root":{"path":"/","pool":"p","type":"disk"}},"ephemeral":true,
    "profiles":["default","b"],"restore":"","stateful":false,"description":"d","name":"c1",
    "source":{"type":"image","alias":"debian","base-image":"b","properties":{"os":"x"},"live":true},
    "instance_type":"","type":"virtual-machine"})";
  auto made = read<schema::CreateInstance>(text);
  REQUIRE(made);
  auto back = shown(*made), sent = json::parse(text);
  for (auto& [name, value] : sent.items())
    if (name != "source") CHECK(back[name] == value);
  for (auto& [name, value] : sent["source"].items()) CHECK(back["source"][name] == value);
  CHECK(shown(*message_from<schema::CreateInstance>(back)) == back);
}

TEST_CASE("Numbers survive at their limits") {
  auto made = read<schema::InstanceState>(R"({"status_code":-2147483648,"pid":9223372036854775807,
    "processes":-9223372036854775808,"network":{"eth0":{"mtu":2147483647,"counters":{"bytes_sent":18446744073709551615}}}})");
  REQUIRE(made);
  auto back = shown(*made);
  CHECK(back["status_code"] == INT32_MIN);
  CHECK(back["pid"] == INT64_MAX);
  CHECK(back["processes"] == INT64_MIN);
  CHECK(back["network"]["eth0"]["mtu"] == INT32_MAX);
  CHECK(back["network"]["eth0"]["counters"]["bytes_sent"] == UINT64_MAX);
}

TEST_CASE("Numbers that do not fit are refused") {
  CHECK(refusal<schema::ExecInstance>(R"({"width":2147483648})").find("\"width\"") != std::string::npos);
  CHECK(refusal<schema::ExecInstance>(R"({"width":-2147483649})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"user":4294967296})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"user":-1})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"width":1.5})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"width":1e3})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"width":99999999999999999999999})") != "");
}

TEST_CASE("A number above the signed range is refused, not wrapped around", "[wrap]") {
  CHECK(refusal<schema::ChangeInstanceState>(R"({"timeout":9223372036854775808})") != "");
  CHECK(refusal<schema::ChangeInstanceState>(R"({"timeout":18446744073709551615})") != "");
  CHECK(refusal<schema::ExecInstance>(R"({"width":18446744073709551615})") != "");
}

TEST_CASE("An absent list is empty, an absent nullable one is null") {
  auto spec = shown(message<schema::InstanceSpec>{});
  CHECK(spec["profiles"] == json::array());
  CHECK(spec["config"] == json::object());
  CHECK(spec["devices"] == json::object());
  CHECK(spec["created_at"] == "0001-01-01T00:00:00Z");
  auto state = shown(message<schema::InstanceState>{});
  CHECK(state["network"].is_null());
  CHECK(state["disk"] == json::object());
  CHECK(state["memory"]["usage"] == 0);
  CHECK(shown(message<schema::NetworkState>{})["bridge"].is_null());
  CHECK(shown(message<schema::Operation>{})["metadata"].is_null());
  CHECK(shown(message<schema::RenameInstance>{})["target"].is_null());
}

TEST_CASE("A list that was sent empty is told from one that was not sent") {
  auto given = [](std::string_view text) {
    return read<schema::CreateInstance>(text)->read([](auto request) { return request.hasProfiles(); });
  };
  CHECK_FALSE(given("{}"));
  CHECK_FALSE(given(R"({"profiles":null})"));
  CHECK(given(R"({"profiles":[]})"));
}

TEST_CASE("Null means the default for every kind of field") {
  auto made = read<schema::CreateInstance>(
      R"({"name":null,"config":null,"devices":null,"ephemeral":null,"source":null,"type":null})");
  REQUIRE(made);
  CHECK(to_json(*made) == to_json(message<schema::CreateInstance>{}));
  CHECK(shown(*read<schema::ChangeInstanceState>(R"({"timeout":null})"))["timeout"] == -1);
  CHECK(shown(*read<schema::ProfilePut>(R"({"config":{"a":null}})"))["config"]["a"] == "");
}

TEST_CASE("Times are RFC 3339 and a bad one is refused by name") {
  auto made = read<schema::ImagePut>(R"({"expires_at":"2026-01-31T13:00:00.5+01:00"})");
  REQUIRE(made);
  CHECK(shown(*made)["expires_at"] == "2026-01-31T12:00:00.5Z");
  CHECK(shown(*read<schema::ImagePut>(R"({"expires_at":"0001-01-01T00:00:00Z"})"))["expires_at"] ==
        "0001-01-01T00:00:00Z");
  for (auto bad : {R"({"expires_at":"tomorrow"})", R"({"expires_at":12})", R"({"expires_at":"2026-02-30T00:00:00Z"})",
                   R"({"expires_at":""})"})
    CHECK(refusal<schema::ImagePut>(bad).find("\"expires_at\" must be a time") != std::string::npos);
}

TEST_CASE("Enumerants have LXD's names in both directions") {
  CHECK(shown(message<schema::InstanceSpec>{})["type"] == "container");
  auto made = read<schema::CreateInstance>(R"({"type":"virtual-machine"})");
  REQUIRE(made);
  CHECK(made->read([](auto request) { return request.getType(); }) == schema::InstanceType::VIRTUAL_MACHINE);
  CHECK(shown(*made)["type"] == "virtual-machine");
  CHECK(shown(*read<schema::CreateInstance>(R"({"type":""})"))["type"] == "container");
  CHECK(shown(message<schema::Operation>{})["class"] == "task");
  CHECK(refusal<schema::CreateInstance>(R"({"type":"virtualMachine"})").find("\"virtualMachine\"") !=
        std::string::npos);
  CHECK(refusal<schema::CreateInstance>(R"({"type":1})") != "");
}

TEST_CASE("Hidden fields are neither shown nor read") {
  auto spec = message<schema::InstanceSpec>::make([](auto builder) {
    builder.setId(7);
    builder.setPool("hush");
    builder.setIdmapBase(1);
  });
  CHECK(to_json(spec).find("hush") == std::string::npos);
  CHECK(refusal<schema::InstanceSpec>(R"({"id":7})") == "Unknown field \"id\"");
  CHECK(refusal<schema::CreateInstance>(R"({"project":"other"})") == "Unknown field \"project\"");
  CHECK(refusal<schema::UpdateInstance>(R"({"etag":"x"})") != "");
  CHECK(refusal<schema::UpdateInstance>(R"({"given":["x"]})") != "");
}

TEST_CASE("Secret fields are read and not shown, fields to omit are shown when not empty") {
  capnp::SchemaLoader loader;
  auto schema = annotated<schema::InstanceConsole>(loader, 0xfeedfeed00000001, {{omit_empty}, {hidden}, {secret}});
  capnp::MallocMessageBuilder builder;
  auto root = builder.initRoot<capnp::DynamicStruct>(schema);
  auto written = [&] {
    std::string out;
    write_json(out, root.asReader());
    return out;
  };
  CHECK(written() == "{}");
  REQUIRE(read_json(json{{"width", 5}, {"type", "hush"}}, root));
  CHECK(root.get("type").as<capnp::Text>() == "hush");
  CHECK(written() == R"({"width":5})");
  CHECK_FALSE(read_json(json{{"height", 5}}, root));
}

TEST_CASE("An unknown key is refused with a value and accepted without one") {
  CHECK(refusal<schema::CreateInstance>(R"({"nmae":"c1"})") == "Unknown field \"nmae\"");
  CHECK(refusal<schema::CreateInstance>(R"({"source":{"colour":"red"}})") == "Unknown field \"source.colour\"");
  for (auto value : {"true", "1", "-1", "0.5", "\"x\"", "[0]", "{\"a\":null}"})
    CHECK(refusal<schema::CreateInstance>("{\"new\":" + std::string{value} + "}") != "");
  for (auto value : {"null", "false", "0", "0.0", "\"\"", "[]", "{}"})
    CHECK(refusal<schema::CreateInstance>("{\"new\":" + std::string{value} + "}") == "");
}

TEST_CASE("Keys match in any case, and the exact one wins its own field") {
  CHECK(shown(*read<schema::CreateInstance>(R"({"Name":"c1"})"))["name"] == "c1");
  CHECK(shown(*read<schema::InstanceSource>(R"({"Base-Image":"b"})"))["base-image"] == "b");
  CHECK(shown(*read<schema::ProfilePut>(R"({"config":{"User.A":"1","user.a":"2"}})"))["config"] ==
        json{{"User.A", "1"}, {"user.a", "2"}});
}

TEST_CASE("A wrong type is refused with the path to it") {
  auto check = [](std::string_view text, std::string_view path) {
    INFO(text);
    CHECK(refusal<schema::CreateInstance>(text).find("\"" + std::string{path} + "\"") != std::string::npos);
  };
  check(R"({"name":1})", "name");
  check(R"({"name":["c1"]})", "name");
  check(R"({"ephemeral":"true"})", "ephemeral");
  check(R"({"ephemeral":1})", "ephemeral");
  check(R"({"profiles":"default"})", "profiles");
  check(R"({"profiles":{}})", "profiles");
  check(R"({"profiles":["a",1]})", "profiles[1]");
  check(R"({"profiles":[null]})", "profiles[0]");
  check(R"({"config":[]})", "config");
  check(R"({"config":{"limits.cpu":2}})", "config.limits.cpu");
  check(R"({"devices":{"root":"disk"}})", "devices.root");
  check(R"({"devices":{"root":{"size":{}}}})", "devices.root.size");
  check(R"({"source":[]})", "source");
  check(R"({"source":{"properties":{"os":false}}})", "source.properties.os");
  for (auto body : {"[]", "null", "1", "\"x\"", "true"})
    CHECK(refusal<schema::CreateInstance>(body) == "The request body must be a JSON object");
}

TEST_CASE("NUL is refused in values and in keys") {
  CHECK(refusal<schema::CreateInstance>(R"({"name":"c1\u0000"})").find("\"name\"") != std::string::npos);
  CHECK(refusal<schema::CreateInstance>(R"({"profiles":["a\u0000b"]})") != "");
  CHECK(refusal<schema::CreateInstance>(R"({"config":{"user.a":"\u0000"}})") != "");
  CHECK(refusal<schema::CreateInstance>(R"({"config":{"user\u0000a":"x"}})") != "");
  CHECK(refusal<schema::CreateInstance>(R"({"devices":{"a\u0000":{}}})") != "");
}

TEST_CASE("Text that is not JSON is refused with the place") {
  for (auto bad : {"", "{", "{]", "{\"a\":}", "{\"a\":1,}", "{} {}", "{'a':1}", "{\"a\":01}", "{\"a\":\"\x01\"}",
                   "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}", "NaN"}) {
    auto made = parse_json_text(bad);
    INFO(bad);
    REQUIRE_FALSE(made);
    CHECK(made.error().code == fault::invalid);
    CHECK(made.error().message.find("byte") != std::string::npos);
  }
}

TEST_CASE("Deep nesting does no harm") {
  constexpr size_t depth = 100'000;
  std::string text = "{\"name\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  CHECK(refusal<schema::CreateInstance>(text) == "Field \"name\" must be a string");
  std::string objects = "{\"new\":";
  for (size_t i = 0; i < depth; ++i) objects += "{\"a\":";
  CHECK(refusal<schema::CreateInstance>(objects + "1" + std::string(depth, '}') + "}") == "Unknown field \"new\"");
}

TEST_CASE("A list that is far too long is refused") {
  json body{{"profiles", json::array()}};
  for (int i = 0; i < 65537; ++i) body["profiles"].push_back("");
  auto made = message_from<schema::CreateInstance>(body);
  REQUIRE_FALSE(made);
  CHECK(made.error().code == fault::invalid);
}

TEST_CASE("Strings are escaped so that every byte comes back") {
  CHECK(json_text_of("a\"b\\c\n\t\r") == R"("a\"b\\c\n\t\r")");
  CHECK(json_text_of(std::string_view{"\0\x01\x1f", 3}) == R"("\u0000\u0001\u001f")");
  CHECK(json_text_of("\x7f/ü€😀") == "\"\x7f/ü€😀\"");
  CHECK(json_text_of("") == "\"\"");
  for (int c = 0; c < 128; ++c) {
    std::string one(1, static_cast<char>(c));
    CHECK(json::parse(json_text_of("x" + one + "y")) == "x" + one + "y");
  }
}

TEST_CASE("Keys of maps are escaped too") {
  auto made = message_from<schema::ProfilePut>(json{{"config", {{"a\"b\n", "{"}, {"c", "d"}}}});
  REQUIRE(made);
  CHECK(shown(*made)["config"] == json{{"a\"b\n", "{"}, {"c", "d"}});
}

TEST_CASE("Raw fields are copied as they are") {
  auto record = message<schema::Operation>::make([](auto op) { op.setMetadata(R"({"fds":{"0":"x"},"n":[1,2]})"); });
  CHECK(shown(record)["metadata"] == json{{"fds", {{"0", "x"}}}, {"n", {1, 2}}});
}

TEST_CASE("Fields of several structs make one object") {
  std::string out = "{";
  message<schema::ImageAlias>{}.read([&](auto alias) { write_json_fields(out, alias); });
  write_json_name(out, "extra");
  out += "[{";
  message<schema::ImageAliasRename>{}.read([&](auto alias) { write_json_fields(out, alias); });
  out += "}]}";
  CHECK(out == R"({"name":"","description":"","extra":[{"name":""}]})");
}
