#include "cli/bus_path.hpp"
#include "cli/output.hpp"
#include "cli/runs.hpp"
#include "messages/json.hpp"
#include "messages/json_read.hpp"
#include <troupe/client.hpp>

#include <algorithm>
#include <capnp/schema-loader.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace troupe {

using nlohmann::json;

namespace {

using dynamic_request = capnp::Request<capnp::DynamicStruct, capnp::DynamicStruct>;

// The daemon's own schema, so that this program can call methods that it was built without.
struct remote_schema {
  capnp::SchemaLoader loader;

  explicit remote_schema(bus_client& client) {
    auto described = client.bus().describeRequest().send().wait(client.scope());
    for (auto node : described.getNodes()) loader.load(node);
  }
  capnp::InterfaceSchema of(uint64_t id) { return loader.get(id).asInterface(); }
};

std::string name_of(capnp::Schema type) { return type.getShortDisplayName().cStr(); }

outcome<capnp::InterfaceSchema::Method> find(capnp::InterfaceSchema type, const std::string& name) {
  KJ_IF_MAYBE (method, type.findMethodByName(name)) return *method;
  return fail(fault::invalid,
              name_of(type) + " has no method \"" + name + "\"; see troupe bus describe " + name_of(type));
}

// Words fill the texts; streams the daemon writes to are ours.
outcome<void> fill_words(dynamic_request& request, const bus_step& step) {
  size_t next = 0;
  for (auto field : request.getSchema().getFields()) {
    auto type = field.getType();
    if (type.isText() && next < step.words.size()) request.set(field, step.words[next++].c_str());
    if (type.isInterface() && name_of(type.asInterface()) == "ByteStream") {
      bool errors = field.getProto().getName() == "stderr";
      capnp::Capability::Client sink = sink_into(errors ? STDERR_FILENO : STDOUT_FILENO);
      request.set(field, sink.castAs<capnp::DynamicCapability>(type.asInterface()));
    }
  }
  if (next < step.words.size()) return fail(fault::invalid, step.method + " does not take \"" + step.words[next] + '"');
  return {};
}

// The handle that a call in the middle of a path leads to: the first of its results.
outcome<capnp::DynamicCapability::Client> lead_on(capnp::RemotePromise<capnp::DynamicStruct>& promise,
                                                  capnp::StructSchema results, const std::string& method) {
  for (auto field : results.getFields())
    if (field.getType().isInterface()) return promise.get(field).releaseAs<capnp::DynamicCapability>();
  return fail(fault::invalid, method + " does not lead to a handle");
}

json to_shown(capnp::DynamicStruct::Reader results) {
  std::string out;
  write_json(out, results);
  auto shown = json::parse(out);
  for (auto field : results.getSchema().getFields()) {
    std::string name = field.getProto().getName().cStr();
    if (field.getType().isInterface() && results.has(field))
      shown[name] = "<" + name_of(field.getType().asInterface()) + ">";
    if (field.getType().isEnum() && !shown.contains(name))
      KJ_IF_MAYBE (known, results.get(field).as<capnp::DynamicEnum>().getEnumerant())
        shown[name] = known->getProto().getName().cStr();
  }
  return shown;
}

// Calls `wait` of the first result that has it: an operation, a process.
json wait_for_it(bus_client& client, capnp::DynamicStruct::Reader results) {
  for (auto field : results.getSchema().getFields()) {
    if (!field.getType().isInterface()) continue;
    KJ_IF_MAYBE (method, field.getType().asInterface().findMethodByName("wait")) {
      auto request = results.get(field).as<capnp::DynamicCapability>().newRequest(*method);
      return to_shown(request.send().wait(client.scope()));
    }
  }
  return {};
}

outcome<void> run_path(bus_client& client, const std::vector<bus_step>& steps, const json& arguments, bool wait) {
  remote_schema schema{client};
  auto root = capnp::Schema::from<bus::Bus>().getProto().getId();
  capnp::Capability::Client plain = client.bus();
  auto at = plain.castAs<capnp::DynamicCapability>(schema.of(root));
  for (size_t i = 0; i < steps.size(); ++i) {
    auto method = find(at.getSchema(), steps[i].method);
    if (!method) return tl::unexpected{method.error()};
    auto request = at.newRequest(*method);
    if (auto filled = fill_words(request, steps[i]); !filled) return filled;
    bool last = i + 1 == steps.size();
    if (last)
      if (auto read = read_json(arguments, request); !read) return read;
    auto promise = request.send();
    if (!last) {
      auto next = lead_on(promise, method->getResultType(), steps[i].method);
      if (!next) return tl::unexpected{next.error()};
      at = kj::mv(*next);
      continue;
    }
    auto results = promise.wait(client.scope());
    auto shown = to_shown(results);
    if (wait)
      if (auto end = wait_for_it(client, results); !end.is_null()) shown = end;
    if (!shown.empty()) std::cout << shown.dump(2) << '\n';
    if (wait && shown.value("state", "succeeded") != "succeeded")
      return fail(fault::backend_failed, shown.value("err", ""));
  }
  return {};
}

outcome<std::string> read_file_named_by(const invocation& call, const char* option) {
  if (call.text(option).empty()) return fail(fault::invalid, "With --server goes " + std::string{option});
  std::ifstream in{call.text(option), std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  if (!in) return fail(fault::not_found, "Cannot read " + call.text(option));
  return text;
}

// The daemon here, or with --server the one there.
outcome<std::unique_ptr<bus_client>> connect(const invocation& call) {
  auto& address = call.text("--server");
  if (address.empty()) return std::make_unique<bus_client>(call.dir + "/bus.socket");
  tls_daemon to{address, {}, {}, {}};
  for (auto [option, text] : {std::pair{"--server-cert", &to.server_certificate}, std::pair{"--cert", &to.certificate},
                              std::pair{"--key", &to.key}}) {
    auto read = read_file_named_by(call, option);
    if (!read) return tl::unexpected{read.error()};
    *text = std::move(*read);
  }
  return std::make_unique<bus_client>(to);
}

// What `act` throws, as an error.
template <class Act>
outcome<void> guarded(Act act) {
  try {
    return act();
  } catch (const kj::Exception& why) {
    return tl::unexpected{error_of(why)};
  }
}

} // namespace

// A path begins at the project "default" unless its first method is one of the bus's own.
outcome<void> run_bus_call(const invocation& call) {
  auto steps = parse_bus_path(call.text("METHOD"));
  if (!steps) return tl::unexpected{steps.error()};
  auto& typed = call.text("ARGUMENTS");
  auto arguments = parse_json_text(typed.empty() ? "{}" : typed);
  if (!arguments) return fail(fault::invalid, "The arguments are not JSON");
  auto own = capnp::Schema::from<bus::Bus>().findMethodByName(steps->front().method) != nullptr;
  if (!own) steps->insert(steps->begin(), {"project", {"default"}});
  return guarded([&]() -> outcome<void> {
    auto client = connect(call);
    if (!client) return tl::unexpected{client.error()};
    return run_path(**client, *steps, *arguments, call.flag("--wait"));
  });
}

outcome<void> run_bus_describe(const invocation& call) {
  auto& wanted = call.text("INTERFACE");
  return guarded([&]() -> outcome<void> {
    auto client = connect(call);
    if (!client) return tl::unexpected{client.error()};
    auto described = (*client)->bus().describeRequest().send().wait((*client)->scope());
    std::vector<std::vector<std::string>> rows;
    for (auto type : described.getInterfaces())
      if (wanted.empty() || type.getName() == wanted.c_str())
        for (auto method : type.getMethods())
          rows.push_back({type.getName().cStr(), method.getName().cStr(), method.getParams().cStr(),
                          method.getResults().cStr(), method.getReads() ? "YES" : "NO"});
    if (rows.empty()) return fail(fault::not_found, "There is no interface \"" + wanted + "\"");
    std::cout << to_table({"INTERFACE", "METHOD", "PARAMETERS", "RESULTS", "ONLY READS"}, rows);
    return {};
  });
}

} // namespace troupe
