// What bus_test.py cannot do itself: typed calls on the message bus. Prints one JSON object; exit code 1 with the
// error.
//   bus_probe SOCKET COMMAND [ARGUMENT...]
#include "bus_target.hpp"

#include <algorithm>
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

json offers_of(bus_client& client, bus::Instance::Client instance) {
  json out = json::array();
  for (auto name : instance.offersRequest().send().wait(client.scope()).getMethods()) out.push_back(name.cStr());
  return out;
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
          {"offers",
           {offers_of(client, instance_of(client.project(), args.at(0))),
            offers_of(client, instance_of(reader, args.at(0))), offers_of(client, instance_of(blind, args.at(0)))}},
          {"unknown", error_from(client, unknown.send())},
          {"late", error_from(client, late.send())}};
}

json expiry(bus_client& client, const arguments& args) {
  auto request = client.project().restrictRequest();
  auto now = std::chrono::system_clock::now().time_since_epoch();
  request.setExpiresAt(std::chrono::nanoseconds{now + std::chrono::seconds{3}}.count());
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

template <class Results>
arguments names_in(const Results& list) {
  arguments out;
  for (auto item : list.getItems()) out.emplace_back(item.getSpec().getName().cStr());
  return out;
}

// Methods of handles that nobody serves; the schema and the table must agree.
arguments missing_methods(bus_client& client) {
  arguments out;
  auto described = client.bus().describeRequest().send().wait(client.scope());
  for (auto type : described.getInterfaces()) {
    if (type.getName() == "Handle") continue;
    for (auto method : type.getMethods())
      if (!method.getServed()) out.push_back(std::string{type.getName().cStr()} + "." + method.getName().cStr());
  }
  return out;
}

json nouns(bus_client& client, const arguments&) {
  auto& scope = client.scope();
  auto project = client.project();
  auto instances = project.instancesRequest().send().getInstances().listRequest().send().wait(scope);
  auto profiles = project.profilesRequest().send().getProfiles();
  auto networks = project.networksRequest().send().getNetworks().listRequest().send().wait(scope);
  auto pools = project.poolsRequest().send().getPools();
  auto images = project.imagesRequest().send().getImages().listRequest().send().wait(scope);
  auto operations = project.operationsRequest().send().getOperations().listRequest().send().wait(scope);
  auto get_pool = pools.getRequest();
  get_pool.setName("default");
  auto space = get_pool.send().getPool().resourcesRequest().send().wait(scope);

  auto create = profiles.createRequest();
  create.setName("busp");
  auto profile = create.send().getProfile();
  auto etag = profile.viewRequest().send().wait(scope).getEtag();
  auto update = profile.updateRequest();
  update.initBody().setDescription("changed");
  update.initGuard().setEtag(etag);
  update.send().getOperation().waitRequest().send().wait(scope);
  auto stale = profile.updateRequest();
  stale.initBody().setDescription("lost");
  stale.initGuard().setEtag(etag);
  auto refused = error_from(client, stale.send());
  auto changed = profile.viewRequest().send().wait(scope);
  profile.deleteRequest().send().getOperation().waitRequest().send().wait(scope);
  return {{"instances", names_in(instances)},
          {"profiles", names_in(profiles.listRequest().send().wait(scope))},
          {"pools", names_in(pools.listRequest().send().wait(scope))},
          {"networks", names_in(networks)},
          {"images", images.getItems().size()},
          {"operations", operations.getItems().size()},
          {"pool_bytes", space.getSpace().getTotal()},
          {"profile", changed.getSpec().getDescription().cStr()},
          {"stale", refused.substr(0, refused.find(':'))},
          {"missing_methods", missing_methods(client)}};
}

json projects(bus_client& client, const arguments&) {
  auto& scope = client.scope();
  auto create = client.bus().createProjectRequest();
  create.setName("busproject");
  auto begun = create.send();
  auto project = begun.getProject();
  begun.getOperation().waitRequest().send().wait(scope);
  auto update = project.updateRequest();
  auto limit = update.initBody().initConfig(1)[0];
  limit.setKey("limits.instances");
  limit.setValue("0");
  update.initGuard().setPatch(true);
  update.send().getOperation().waitRequest().send().wait(scope);
  auto full = project.instancesRequest().send().getInstances().createRequest();
  full.setName("too-many");
  full.initSource().setType("none");
  auto root = full.initDevices(1)[0];
  root.setName("root");
  auto keys = root.initConfig(3);
  for (auto [i, key, value] : {std::tuple{0u, "type", "disk"}, {1u, "path", "/"}, {2u, "pool", "default"}}) {
    keys[i].setKey(key);
    keys[i].setValue(value);
  }
  auto refused = error_from(client, full.send());
  auto state = project.stateRequest().send().wait(scope);
  auto viewed = project.viewRequest().send().wait(scope);
  json limits;
  for (auto one : state.getLimits()) limits[one.getName().cStr()] = {one.getLimit(), one.getUsage()};
  auto rename = project.renameRequest();
  rename.setName("busrenamed");
  auto renamed = rename.send().getProject();
  auto name = std::string{renamed.viewRequest().send().wait(scope).getSpec().getName().cStr()};
  renamed.deleteRequest().send().getOperation().waitRequest().send().wait(scope);
  return {{"limits", limits},
          {"refused", refused.substr(0, refused.find(':'))},
          {"renamed", name},
          {"used_by", viewed.getUsedBy().size()}};
}

json files(bus_client& client, const arguments& args) {
  auto& scope = client.scope();
  auto files = instance_of(client.project(), args.at(0)).filesRequest().send().getFiles();
  auto make = files.makeDirectoryRequest();
  make.setPath("/root/d");
  make.send().wait(scope);
  std::string big(5'000'000, '\0');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 >> 4);
  auto write = files.writeRequest();
  write.setPath("/root/d/big");
  auto to = write.send().getTo();
  for (size_t at = 0; at < big.size(); at += 50'000) {
    auto chunk = to.writeRequest();
    chunk.setBytes(kj::StringPtr{big.c_str() + at, std::min<size_t>(50'000, big.size() - at)}.asBytes());
    chunk.send().wait(scope);
  }
  to.endRequest().send().wait(scope);
  auto link = files.makeLinkRequest();
  link.setPath("/root/d/link");
  link.setTarget("/root/d/big");
  link.send().wait(scope);
  std::string back;
  auto read = files.readRequest();
  read.setPath("/root/d/big");
  read.setTo(sink_into(back));
  read.send().wait(scope);
  auto look = files.viewRequest();
  look.setPath("/root/d");
  auto folder = look.send().wait(scope);
  arguments entries;
  for (auto entry : folder.getEntries()) entries.emplace_back(entry.cStr());
  look = files.viewRequest();
  look.setPath("/root/d/link");
  auto target = look.send().wait(scope);
  auto remove = files.removeRequest();
  remove.setPath("/root/d/big");
  remove.send().wait(scope);
  auto again = files.viewRequest();
  again.setPath("/root/d/big");
  auto gone = error_from(client, again.send());
  return {{"bytes", back.size()},
          {"same", back == big},
          {"type", static_cast<int>(folder.getType())},
          {"entries", entries},
          {"target", target.getTarget().cStr()},
          {"gone", gone.substr(0, gone.find(':'))}};
}

class recorder final : public bus::EventSink::Server {
public:
  recorder(json& into, std::function<bool()> enough, kj::Own<kj::PromiseFulfiller<void>> full)
      : into_{into}, enough_{std::move(enough)}, full_{kj::mv(full)} {}
  kj::Promise<void> deliver(DeliverContext context) override {
    for (auto one : context.getParams().getDeliveries()) {
      if (!one.isEvent()) continue;
      into_["seqs"].push_back(one.getAt().getSeq());
      into_["actions"].push_back(one.getEvent().getAction().cStr());
    }
    if (enough_()) full_->fulfill();
    return kj::READY_NOW;
  }
  kj::Promise<void> ended(EndedContext) override { return kj::READY_NOW; }

private:
  json& into_;
  std::function<bool()> enough_;
  kj::Own<kj::PromiseFulfiller<void>> full_;
};

json events(bus_client& client, const arguments& args) {
  auto& scope = client.scope();
  json seen{{"seqs", json::array()}, {"actions", json::array()}};
  auto weak = client.project().restrictRequest().send().wait(scope);
  auto stream = weak.getHandle().eventsRequest().send().getEvents();
  auto full = kj::newPromiseAndFulfiller<void>();
  auto both = [&seen] { return seen["actions"].dump().find("instance-resumed") != std::string::npos; };
  auto request = stream.subscribeRequest();
  request.initFilter().initTypes(1).set(0, "lifecycle");
  request.setTo(kj::heap<recorder>(seen, both, kj::mv(full.fulfiller)));
  request.setCredits(100);
  auto subscription = request.send().wait(scope).getSubscription();
  auto instance = instance_of(client.project(), args.at(0));
  auto thawed = instance.freezeRequest().send().getInstance().unfreezeRequest().send();
  thawed.getOperation().waitRequest().send().wait(scope);
  full.promise.wait(scope);
  auto foreign = stream.subscribeRequest();
  foreign.initFilter().initSubjects(1).set(0, "other.>");
  foreign.setTo(kj::heap<recorder>(
      seen, [] { return false; }, kj::newPromiseAndFulfiller<void>().fulfiller));
  seen["foreign"] = error_from(client, foreign.send());
  weak.getRevoker().revokeRequest().send().wait(scope);
  auto count = seen["seqs"].size();
  instance.freezeRequest().send().getInstance().unfreezeRequest().send().getOperation().waitRequest().send().wait(
      scope);
  seen["revoked"] = seen["seqs"].size() == count && !error_from(client, subscription.grantRequest().send()).empty();
  return seen;
}

double seconds_since(std::chrono::steady_clock::time_point begun) {
  return std::chrono::duration<double>{std::chrono::steady_clock::now() - begun}.count();
}

// One call after the other for so many seconds.
// A running command and an event stream of a project, until something else ends them. Says so once both are there.
json hold(bus_client& client, const arguments& args) {
  auto& scope = client.scope();
  auto project = client.project(args.at(0));
  auto running = exec_request(instance_of(project, args.at(1)), {"sleep", "1236"}).send().wait(scope);
  json seen{{"seqs", json::array()}, {"actions", json::array()}};
  auto never = kj::newPromiseAndFulfiller<void>();
  auto subscribe = project.eventsRequest().send().getEvents().subscribeRequest();
  subscribe.setTo(kj::heap<recorder>(
      seen, [] { return false; }, kj::mv(never.fulfiller)));
  subscribe.setCredits(1000);
  auto stream = subscribe.send().wait(scope);
  std::cout << "ready" << std::endl;
  auto command = error_from(client, running.getProcess().waitRequest().send());
  return {{"command", command},
          {"stream", error_from(client, stream.getSubscription().grantRequest().send())},
          {"actions", seen["actions"]}};
}

// What a subscription to project OWN's stream says to subjects of project OTHER, and of the server.
json scopes(bus_client& client, const arguments& args) {
  auto events = client.project(args.at(0)).eventsRequest().send().getEvents();
  json out;
  auto ask = [&](const std::string& name, const std::string& subject, const char* durable) {
    json seen{{"seqs", json::array()}, {"actions", json::array()}};
    auto never = kj::newPromiseAndFulfiller<void>();
    auto subscribe = events.subscribeRequest();
    subscribe.setTo(kj::heap<recorder>(
        seen, [] { return false; }, kj::mv(never.fulfiller)));
    subscribe.initFilter().initSubjects(1).set(0, subject);
    subscribe.setDurable(durable);
    out[name] = error_from(client, subscribe.send());
  };
  for (auto& subject : {args.at(1) + ".>", std::string{"_.>"}}) ask(subject, subject, "");
  ask("durable", args.at(0) + ".>", "forever");
  ask("own", args.at(0) + ".>", "");
  return out;
}

json calls(bus_client& client, const arguments& args) {
  auto begun = std::chrono::steady_clock::now();
  auto project = client.project();
  size_t failed = 0;
  std::vector<double> took;
  while (seconds_since(begun) < std::stod(args.at(0))) {
    auto asked = std::chrono::steady_clock::now();
    failed += error_from(client, project.viewRequest().send()).empty() ? 0 : 1;
    took.push_back(seconds_since(asked) * 1e6);
  }
  std::sort(took.begin(), took.end());
  return {{"calls", took.size()},
          {"failed", failed},
          {"p50_us", took[took.size() / 2]},
          {"p99_us", took[took.size() * 99 / 100]}};
}

// As many calls at once as the server lets in.
json flood(bus_client& client, const arguments& args) {
  auto begun = std::chrono::steady_clock::now();
  auto project = client.project();
  size_t done = 0;
  while (seconds_since(begun) < std::stod(args.at(0))) {
    kj::Vector<kj::Promise<void>> batch;
    for (int i = 0; i < 2000; ++i) batch.add(project.viewRequest().send().ignoreResult());
    kj::joinPromises(batch.releaseAsArray()).wait(client.scope());
    done += 2000;
  }
  return {{"calls", done}};
}

const std::map<std::string, json (*)(bus_client&, const arguments&)> commands = {
    {"pipelined", pipelined},
    {"broken_pipeline", broken_pipeline},
    {"exec", exec},
    {"revoke", revoke},
    {"hold", hold},
    {"scopes", scopes},
    {"restricted", restricted},
    {"expiry", expiry},
    {"errors", errors},
    {"nouns", nouns},
    {"projects", projects},
    {"files", files},
    {"events", events},
    {"calls", calls},
    {"flood", flood},
};

} // namespace

int main(int argc, char** argv) {
  if (argc < 3 || !commands.contains(argv[2])) return std::cerr << "usage: bus_probe SOCKET COMMAND\n", 2;
  try {
    auto client = connect_to(argv[1]);
    std::cout << commands.at(argv[2])(*client, {argv + 3, argv + argc}).dump() << '\n';
  } catch (const kj::Exception& why) {
    auto error = error_of(why);
    std::cerr << to_string(error.code) << ": " << error.message << '\n';
    return 1;
  }
}
