// Prints every lifecycle event from a cursor on, and proves that none is missing: numbers it was not sent are told as a
// gap. Start it again with the cursor it printed last and it goes on where it was.
//   example_subscribe DIR [EPOCH MEMBER SEQ]
#include <iostream>
#include <troupe/client.hpp>

namespace {

constexpr uint32_t window = 256; // deliveries that may be on their way

class printer final : public troupe::bus::EventSink::Server {
public:
  explicit printer(kj::Own<kj::PromiseFulfiller<void>> over) : over_{kj::mv(over)} {}

  kj::Promise<void> deliver(DeliverContext context) override {
    auto list = context.getParams().getDeliveries();
    for (auto one : list) print(one);
    auto more = subscription.grantRequest();
    more.setCredits(list.size());
    return more.send().ignoreResult();
  }
  kj::Promise<void> ended(EndedContext context) override {
    std::cout << "ended: " << context.getParams().getReason().cStr() << '\n';
    over_->fulfill();
    return kj::READY_NOW;
  }

  troupe::bus::Subscription::Client subscription = nullptr;

private:
  void print(troupe::bus::Delivery::Reader one) {
    auto at = one.getAt();
    std::cout << at.getEpoch() << ' ' << at.getMember().cStr() << ' ' << at.getSeq() << ": ";
    if (one.isEvent())
      std::cout << one.getEvent().getAction().cStr() << ' ' << one.getEvent().getSource().cStr();
    else if (one.isGap())
      std::cout << "lost " << one.getGap().getFrom() << " to " << one.getGap().getTo();
    else
      std::cout << "nothing new";
    std::cout << std::endl;
  }

  kj::Own<kj::PromiseFulfiller<void>> over_;
};

} // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 5) return std::cerr << "usage: example_subscribe DIR [EPOCH MEMBER SEQ]\n", 2;
  troupe::bus_client client{std::string{argv[1]} + "/bus.socket"};
  auto over = kj::newPromiseAndFulfiller<void>();
  auto sink = kj::heap<printer>(kj::mv(over.fulfiller));
  auto& state = *sink;

  auto request = client.project().eventsRequest().send().getEvents().subscribeRequest();
  request.initFilter().initTypes(1).set(0, "lifecycle");
  if (argc == 5) {
    auto cursor = request.initStart().initCursor();
    cursor.setEpoch(static_cast<uint32_t>(std::stoul(argv[2])));
    cursor.setMember(argv[3]);
    cursor.setSeq(std::stoull(argv[4]));
  } else {
    request.initStart().setBeginning();
  }
  request.setTo(kj::mv(sink));
  auto promise = request.send();
  state.subscription = promise.getSubscription();
  auto first = state.subscription.grantRequest();
  first.setCredits(window);
  first.send().wait(client.scope());
  over.promise.wait(client.scope());
}
