// Keeps COUNT instances "pool-0", "pool-1", ... running: whenever one stops, it is started again. It does not poll: it
// is told of every stop, and of the state of all instances first.
//   example_autoscaler DIR COUNT
#include <iostream>
#include <set>
#include <troupe/client.hpp>

namespace {

using troupe::bus::Instances;

class keeper final : public troupe::bus::EventSink::Server, private kj::TaskSet::ErrorHandler {
public:
  keeper(Instances::Client instances, std::set<std::string> names)
      : instances_{kj::mv(instances)}, names_{std::move(names)}, starts_{*this} {}

  kj::Promise<void> deliver(DeliverContext context) override {
    auto list = context.getParams().getDeliveries();
    for (auto one : list) {
      if (!one.isEvent()) continue;
      std::string action = one.getEvent().getAction().cStr(), name = one.getEvent().getEntity().cStr();
      if ((action == "instance-stopped" || action == "instance-shutdown") && names_.contains(name)) start(name);
    }
    auto more = subscription.grantRequest();
    more.setCredits(list.size());
    return more.send().ignoreResult();
  }
  kj::Promise<void> ended(EndedContext) override { std::exit(1); } // the daemon went: be started again

  void start(const std::string& name) {
    auto get = instances_.getRequest();
    get.setName(name);
    auto change = get.send().getInstance().startRequest().send();
    starts_.add(change.getOperation().waitRequest().send().then(
        [name](auto&&) { std::cout << "started " << name << std::endl; }));
  }

  troupe::bus::Subscription::Client subscription = nullptr;

private:
  void taskFailed(kj::Exception&& why) override { std::cout << troupe::error_of(why).message << std::endl; }

  Instances::Client instances_;
  std::set<std::string> names_;
  kj::TaskSet starts_;
};

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: example_autoscaler DIR COUNT\n", 2;
  troupe::bus_client client{std::string{argv[1]} + "/bus.socket"};
  std::set<std::string> names;
  for (int i = 0; i < std::stoi(argv[2]); ++i) names.insert("pool-" + std::to_string(i));
  auto project = client.project();
  auto instances = project.instancesRequest().send().getInstances();
  auto sink = kj::heap<keeper>(instances, names);
  auto& state = *sink;

  auto request = project.eventsRequest().send().getEvents().subscribeRequest();
  request.initFilter().initSubjects(1).set(0, "default.instance.*.*");
  request.setTo(kj::mv(sink));
  request.setCredits(64);
  state.subscription = request.send().getSubscription();

  // Subscribed first, listed second: no stop falls between the two.
  auto listed = instances.listRequest().send().wait(client.scope());
  for (auto one : listed.getItems())
    if (one.getStatus() == "Stopped" && names.contains(one.getSpec().getName().cStr()))
      state.start(one.getSpec().getName().cStr());
  kj::NEVER_DONE.wait(client.scope());
}
