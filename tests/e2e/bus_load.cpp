// Load on the message bus, for bus_test.py and bus_bench.py. Prints one JSON object; exit code 1 with the error.
//   bus_load SOCKET calls KIND SECONDS     one call after the other, timed
//   bus_load SOCKET flood KIND SECONDS     as many at once as the server lets in
//   bus_load SOCKET submit COUNT LANES     so many operations, LANES at a time, timed from the call to its acceptance
//   bus_load SOCKET listed LIMIT           every operation that is kept, by pages
//   bus_load SOCKET handles COUNT          so many handles at once
// KIND: view (answered by the bus itself), list (by a thread that may block), update (an operation).
#include "bus_target.hpp"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

using namespace troupe;
using nlohmann::json;
using steady = std::chrono::steady_clock;

namespace {

using arguments = std::vector<std::string>;

constexpr int at_once = 2000;

double micros(steady::time_point since) {
  return std::chrono::duration<double, std::micro>{steady::now() - since}.count();
}

json summary(std::vector<double> micro) {
  std::sort(micro.begin(), micro.end());
  if (micro.empty()) return {{"n", 0}};
  return {{"n", micro.size()}, {"p50_us", micro[micro.size() / 2]}, {"p99_us", micro[micro.size() * 99 / 100]}};
}

bus::Profile::Client profile(bus::Project::Client project, const std::string& name) {
  auto request = project.profilesRequest().send().getProfiles().getRequest();
  request.setName(name);
  return request.send().getProfile();
}

void make_profile(bus_client& client, const std::string& name) {
  auto create = client.project().profilesRequest().send().getProfiles().createRequest();
  create.setName(name);
  try {
    create.send().getOperation().waitRequest().send().wait(client.scope());
  } catch (const kj::Exception& why) {
    if (error_of(why).code != fault::already_exists) throw; // of a run before
  }
}

kj::Promise<void> call(bus::Project::Client project, const std::string& kind) {
  if (kind == "view") return project.viewRequest().send().ignoreResult();
  if (kind == "list") return project.instancesRequest().send().getInstances().listRequest().send().ignoreResult();
  auto update = profile(project, "busload").updateRequest();
  update.initBody().setDescription("again");
  return update.send().ignoreResult();
}

json calls(bus_client& client, const arguments& args) {
  auto project = client.project();
  auto begun = steady::now();
  std::vector<double> took;
  while (micros(begun) < std::stod(args.at(1)) * 1e6) {
    auto asked = steady::now();
    call(project, args.at(0)).wait(client.scope());
    took.push_back(micros(asked));
  }
  return summary(std::move(took));
}

json flood(bus_client& client, const arguments& args) {
  auto project = client.project();
  if (args.at(0) == "update") make_profile(client, "busload");
  auto begun = steady::now();
  size_t done = 0, refused = 0;
  while (micros(begun) < std::stod(args.at(1)) * 1e6) {
    kj::Vector<kj::Promise<void>> batch;
    for (int i = 0; i < at_once; ++i)
      batch.add(call(project, args.at(0)).catch_([&refused](kj::Exception&&) { ++refused; }));
    kj::joinPromises(batch.releaseAsArray()).wait(client.scope());
    done += at_once;
  }
  unsigned most = 0;
  auto sessions = client.bus().sessionsRequest().send().wait(client.scope());
  for (auto each : sessions.getItems()) most = std::max(most, each.getMostAtWork());
  return {{"calls", done}, {"refused", refused}, {"most_at_work", most}};
}

// Each lane changes a profile of its own, one change after the other.
class submitter {
public:
  submitter(bus::Project::Client project, size_t count) : project_{kj::mv(project)}, left_{count} {}

  kj::Promise<void> lane(std::string name) {
    if (left_ == 0) return kj::READY_NOW;
    auto number = std::to_string(left_--);
    last[name] = number;
    auto update = profile(project_, name).updateRequest();
    update.initBody().setDescription(number);
    auto asked = steady::now();
    return update.send().then([this, asked, name](auto&& accepted) {
      took.push_back(micros(asked));
      operations.add(accepted.getOperation());
      return lane(name);
    });
  }

  std::vector<double> took;
  std::map<std::string, std::string> last; // profile -> its last description
  kj::Vector<bus::Operation::Client> operations;

private:
  bus::Project::Client project_;
  size_t left_;
};

json submit(bus_client& client, const arguments& args) {
  auto count = std::stoul(args.at(0)), lanes = std::stoul(args.at(1));
  for (size_t i = 0; i < lanes; ++i) make_profile(client, "lane" + std::to_string(i));
  submitter work{client.project(), count};
  auto begun = steady::now();
  kj::Vector<kj::Promise<void>> all;
  for (size_t i = 0; i < lanes; ++i) all.add(work.lane("lane" + std::to_string(i)));
  kj::joinPromises(all.releaseAsArray()).wait(client.scope());
  auto seconds = micros(begun) / 1e6;
  json ids = json::array();
  for (auto& operation : work.operations)
    ids.push_back(operation.viewRequest().send().wait(client.scope()).getId().cStr());
  return {{"submit_to_accepted", summary(std::move(work.took))},
          {"per_second", static_cast<double>(count) / seconds},
          {"ids", ids},
          {"last", work.last}};
}

json listed(bus_client& client, const arguments& args) {
  auto operations = client.project().operationsRequest().send().getOperations();
  json states = json::object();
  int pages = 0;
  for (std::string after; pages == 0 || !after.empty(); ++pages) {
    auto list = operations.listRequest();
    auto page = list.initPage();
    page.setAfter(after);
    page.setLimit(static_cast<uint32_t>(std::stoul(args.at(0))));
    auto found = list.send().wait(client.scope());
    for (auto one : found.getItems()) states[one.getId().cStr()] = static_cast<int>(one.getState());
    after = found.getNext().cStr();
  }
  return {{"pages", pages}, {"states", states}};
}

json handles(bus_client& client, const arguments& args) {
  auto instances = client.project().instancesRequest().send().getInstances();
  kj::Vector<bus::Instance::Client> held;
  std::string refused;
  for (size_t i = 0; i < std::stoul(args.at(0)) && refused.empty(); ++i) {
    try {
      auto get = instances.getRequest();
      get.setName("x");
      held.add(get.send().wait(client.scope()).getInstance());
    } catch (const kj::Exception& why) {
      refused = to_string(error_of(why).code);
    }
  }
  auto before = held.size();
  held.clear();
  auto again = client.project().viewRequest().send().wait(client.scope()).getSpec().getName().size();
  return {{"made", before}, {"refused", refused}, {"alive_after", again > 0}};
}

const std::map<std::string, json (*)(bus_client&, const arguments&)> commands = {
    {"calls", calls}, {"flood", flood}, {"submit", submit}, {"listed", listed}, {"handles", handles}};

} // namespace

int main(int argc, char** argv) {
  if (argc < 3 || !commands.contains(argv[2])) return std::cerr << "usage: bus_load SOCKET COMMAND ARGUMENT...\n", 2;
  try {
    auto client = connect_to(argv[1]);
    std::cout << commands.at(argv[2])(*client, {argv + 3, argv + argc}).dump() << '\n';
  } catch (const kj::Exception& why) {
    auto error = error_of(why);
    std::cerr << to_string(error.code) << ": " << error.message << '\n';
    return 1;
  }
}
