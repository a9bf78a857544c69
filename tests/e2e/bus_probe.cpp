// What bus_test.py cannot do itself: typed calls on the message bus. Prints one JSON object; exit code 1 with the
// error.
//   bus_probe SOCKET COMMAND [ARGUMENT...]
#include "cli/libtroupe/client.hpp"

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

using namespace troupe;
using nlohmann::json;

namespace {

using arguments = std::vector<std::string>;

auto exec_request(bus::Instance::Client instance, const arguments& words) {
  auto request = instance.execRequest();
  auto command = request.initCommand().initCommand(static_cast<unsigned>(words.size()));
  for (unsigned i = 0; i < words.size(); ++i) command.set(i, words[i]);
  return request;
}

bus::Instance::Client instance_of(bus::Project::Client project, const std::string& name) {
  auto request = project.instancesRequest().send().getInstances().getRequest();
  request.setName(name);
  return request.send().getInstance();
}

std::string thrown_by(const std::function<void()>& act) {
  try {
    act();
  } catch (const kj::Exception& why) {
    auto error = error_of(why);
    return std::string{to_string(error.code)} + ": " + error.message;
  }
  return "";
}

template <class Promise>
std::string error_from(bus_client& client, Promise&& promise) {
  return thrown_by([&] { promise.wait(client.scope()); });
}

// Everything is sent before anything is answered.
json pipelined(bus_client& client, const arguments& args) {
  auto instances = client.project().instancesRequest().send().getInstances();
  auto create = instances.createRequest();
  create.setName(args.at(0));
  create.initSource().setType("image");
  create.getSource().setAlias(args.at(1));
  auto created = create.send();
  auto started = created.getInstance().startRequest().send();
  auto request = exec_request(started.getInstance(), {"sh", "-c", "echo to out; echo to err >&2; cat; exit 7"});
  std::string out, err;
  request.setStdout(sink_into(out));
  request.setStderr(sink_into(err));
  auto running = request.send();
  auto write = running.getStdin().writeRequest();
  write.setBytes(kj::StringPtr{"from in\n"}.asBytes());
  auto written = write.send();
  auto ended = running.getStdin().endRequest().send();
  auto finished = running.getProcess().waitRequest().send();
  auto code = finished.wait(client.scope()).getExitCode();
  auto operation = created.getOperation().waitRequest().send().wait(client.scope());
  return {{"exit_code", code}, {"stdout", out}, {"stderr", err}, {"create", operation.getDescription().cStr()}};
}

// The create fails: so does what was hung on it.
json broken_pipeline(bus_client& client, const arguments& args) {
  auto create = client.project().instancesRequest().send().getInstances().createRequest();
  create.setName(args.at(0));
  create.initSource().setType("image");
  create.getSource().setAlias("no-such-image");
  auto started = create.send().getInstance().startRequest().send();
  return {{"error", error_from(client, started)}};
}

json exec(bus_client& client, const arguments& args) {
  auto request = exec_request(instance_of(client.project(), args.at(0)), {args.begin() + 1, args.end()});
  std::string out;
  request.setStdout(sink_into(out));
  auto finished = request.send().getProcess().waitRequest().send();
  auto code = finished.wait(client.scope()).getExitCode();
  return {{"exit_code", code}, {"bytes", out.size()}, {"stdout", out.substr(0, 2000)}};
}

json revoke(bus_client& client, const arguments& args) {
  auto project = client.project();
  auto weak = project.restrictRequest().send().wait(client.scope());
  auto request = exec_request(instance_of(weak.getHandle(), args.at(0)), {"sleep", "1234"});
  auto running = request.send().wait(client.scope());
  auto waiting = running.getProcess().waitRequest().send();
  auto begun = std::chrono::steady_clock::now();
  weak.getRevoker().revokeRequest().send().wait(client.scope());
  auto cut = error_from(client, waiting);
  std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
  auto after = error_from(client, instance_of(weak.getHandle(), args.at(0)).viewRequest().send());
  auto derived = error_from(client, running.getProcess().signalRequest().send());
  auto whole = instance_of(project, args.at(0)).viewRequest().send().wait(client.scope());
  return {{"wait", cut},
          {"milliseconds", took.count()},
          {"view", after},
          {"signal", derived},
          {"unrestricted", whole.getStatus().cStr()}};
}

json restricted(bus_client& client, const arguments& args) {
  auto read_only = client.project().restrictRequest();
  read_only.setReadOnly(true);
  auto reader = read_only.send().getHandle();
  auto seen = instance_of(reader, args.at(0)).viewRequest().send().wait(client.scope());
  auto verbs = client.project().restrictRequest();
  auto list = verbs.initVerbs(2);
  list.set(0, "Project.instances");
  list.set(1, "Instances.get");
  auto blind = verbs.send().getHandle();
  auto exec_again = exec_request(instance_of(reader, args.at(0)), {"true"}).send();
  auto unknown = client.project().restrictRequest();
  unknown.initVerbs(1).set(0, "Instance.fly");
  auto late = client.project().restrictRequest();
  late.setExpiresAt(1);
  return {{"view", seen.getSpec().getName().cStr()},
          {"start", error_from(client, instance_of(reader, args.at(0)).startRequest().send())},
          {"exec", error_from(client, exec_again)},
          {"blind", error_from(client, instance_of(blind, args.at(0)).viewRequest().send())},
          {"unknown", error_from(client, unknown.send())},
          {"late", error_from(client, late.send())}};
}

json expiry(bus_client& client, const arguments& args) {
  auto request = client.project().restrictRequest();
  auto now = std::chrono::system_clock::now().time_since_epoch();
  request.setExpiresAt(std::chrono::nanoseconds{now + std::chrono::milliseconds{300}}.count());
  auto handle = request.send().wait(client.scope()).getHandle();
  auto running = exec_request(instance_of(handle, args.at(0)), {"sleep", "1235"}).send().wait(client.scope());
  return {{"wait", error_from(client, running.getProcess().waitRequest().send())}};
}

json errors(bus_client& client, const arguments&) {
  auto project = client.project();
  auto bad = instance_of(project, "x").startRequest();
  bad.setTimeout(5);
  auto text = project.instancesRequest().send().getInstances().createRequest();
  text.setName(kj::StringPtr{"a\0b", 3});
  auto utf8 = project.instancesRequest().send().getInstances().createRequest();
  utf8.setName("a\xff");
  return {{"missing", error_from(client, instance_of(project, "nobody").viewRequest().send())},
          {"project", error_from(client, client.project("none").viewRequest().send())},
          {"start", error_from(client, bad.send())},
          {"nul", error_from(client, text.send())},
          {"utf8", error_from(client, utf8.send())}};
}

const std::map<std::string, json (*)(bus_client&, const arguments&)> commands = {
    {"pipelined", pipelined}, {"broken_pipeline", broken_pipeline}, {"exec", exec},
    {"revoke", revoke},       {"restricted", restricted},           {"expiry", expiry},
    {"errors", errors},
};

} // namespace

int main(int argc, char** argv) {
  if (argc < 3 || !commands.contains(argv[2])) return std::cerr << "usage: bus_probe SOCKET COMMAND\n", 2;
  try {
    bus_client client{argv[1]};
    std::cout << commands.at(argv[2])(client, {argv + 3, argv + argc}).dump() << '\n';
  } catch (const kj::Exception& why) {
    auto error = error_of(why);
    std::cerr << to_string(error.code) << ": " << error.message << '\n';
    return 1;
  }
}
