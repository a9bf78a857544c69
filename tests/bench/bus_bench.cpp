// Calls on the message bus and, in the same run, on a bare Cap'n Proto server that answers the same: the floor.
//   bus_bench SOCKET SECONDS
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <thread>
#include <troupe/client.hpp>

using namespace troupe;
using nlohmann::json;
using steady = std::chrono::steady_clock;

namespace {

constexpr size_t in_flight = 64;

double micros(steady::duration time) { return std::chrono::duration<double, std::micro>{time}.count(); }

json summary(std::vector<double> micro, double seconds) {
  std::sort(micro.begin(), micro.end());
  return {{"calls_per_second", static_cast<double>(micro.size()) / seconds},
          {"p50_us", micro[micro.size() / 2]},
          {"p99_us", micro[micro.size() * 99 / 100]}};
}

class loader {
public:
  loader(bus::Project::Client project, kj::WaitScope& scope, double seconds)
      : project_{kj::mv(project)}, scope_{scope}, end_{steady::now() + std::chrono::duration_cast<steady::duration>(
                                                                           std::chrono::duration<double>{seconds})} {}

  /// So many calls at any moment, each followed by the next.
  std::vector<double> run(size_t lanes) {
    kj::Vector<kj::Promise<void>> all;
    for (size_t i = 0; i < lanes; ++i) all.add(lane());
    kj::joinPromises(all.releaseAsArray()).wait(scope_);
    return std::move(times_);
  }

private:
  kj::Promise<void> lane() {
    auto begun = steady::now();
    if (begun >= end_) return kj::READY_NOW;
    return project_.viewRequest().send().then([this, begun](auto&&) {
      times_.push_back(micros(steady::now() - begun));
      return lane();
    });
  }

  bus::Project::Client project_;
  kj::WaitScope& scope_;
  steady::time_point end_;
  std::vector<double> times_;
};

json measure(bus::Project::Client project, kj::WaitScope& scope, double seconds) {
  return {{"one_at_a_time", summary(loader{project, scope, seconds}.run(1), seconds)},
          {"64_in_flight", summary(loader{project, scope, seconds}.run(in_flight), seconds)}};
}

class bare_project final : public bus::Project::Server {
public:
  kj::Promise<void> view(ViewContext context) override {
    auto spec = context.getResults().initSpec();
    spec.setName("default");
    spec.setDescription("Default LXD project");
    return kj::READY_NOW;
  }
};

void serve_bare(int socket) {
  auto io = kj::setupAsyncIo();
  capnp::TwoPartyServer server{kj::heap<bare_project>()};
  auto stream = io.lowLevelProvider->wrapSocketFd(socket, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
  server.accept(*stream).wait(io.waitScope);
}

json measure_floor(double seconds) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return "no socket pair";
  std::thread server{serve_bare, ends[0]};
  json result;
  {
    auto io = kj::setupAsyncIo();
    auto stream = io.lowLevelProvider->wrapSocketFd(ends[1], kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
    capnp::TwoPartyClient client{*stream};
    result = measure(client.bootstrap().castAs<bus::Project>(), io.waitScope, seconds);
  }
  server.join();
  return result;
}

// From the call that begins an operation to its acceptance, and to its end.
json measure_operations(bus_client& client, double seconds) {
  auto& scope = client.scope();
  auto profiles = client.project().profilesRequest().send().getProfiles();
  std::vector<double> accepted, ended;
  auto until = steady::now() + std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>{seconds});
  for (int i = 0; steady::now() < until; ++i) {
    auto create = profiles.createRequest();
    create.setName("busbench" + std::to_string(i));
    auto begun = steady::now();
    auto created = create.send().wait(scope);
    accepted.push_back(micros(steady::now() - begun));
    created.getOperation().waitRequest().send().wait(scope);
    ended.push_back(micros(steady::now() - begun));
    created.getProfile().deleteRequest().send().getOperation().waitRequest().send().wait(scope);
  }
  return {{"accepted", summary(accepted, seconds)}, {"ended", summary(ended, seconds)}};
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: bus_bench SOCKET SECONDS\n", 2;
  auto seconds = std::stod(argv[2]);
  json result{{"floor", measure_floor(seconds)}};
  bus_client client{argv[1]};
  result["bus"] = measure(client.project(), client.scope(), seconds);
  result["operations"] = measure_operations(client, seconds);
  std::cout << result.dump() << '\n';
}
