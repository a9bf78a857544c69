#include "backends/instance/agent/agent_session.hpp"

#include <capnp/rpc.capnp.h>
#include <kj/debug.h>

namespace troupe::guest {
namespace {

// What one guest may cost us.
constexpr capnp::ReaderOptions frame_limits{128 << 10, 32}; // words of one message, depth of its pointers
constexpr size_t words_in_flight_max = 2 << 20; // parameters of unanswered calls; then the guest is not read from
constexpr size_t open_calls_max = 64 << 10;     // more than all windows of small writes hold

} // namespace

agent_session::agent_session(uint64_t serial, kj::Own<kj::AsyncIoStream> stream, line& of)
    : number{serial}, stream_{kj::mv(stream)}, gate_{*stream_}, network_{gate_, capnp::rpc::twoparty::Side::CLIENT,
                                                                         frame_limits},
      rpc_{capnp::makeRpcClient(network_)}, agent_{nullptr} {
  of.hold_back([this] { return network_.getCurrentQueueSize() <= unread_bytes_max; });
  rpc_.setFlowLimit(words_in_flight_max);
  capnp::MallocMessageBuilder message{8};
  auto guest = message.initRoot<capnp::rpc::twoparty::VatId>();
  guest.setSide(capnp::rpc::twoparty::Side::SERVER);
  agent_ = rpc_.bootstrap(guest).castAs<Agent>();
}

kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>>
agent_session::gate::tryReadMessage(kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
                                    kj::ArrayPtr<capnp::word> scratch) {
  return inner_.tryReadMessage(fds, options, scratch)
      .then([this](kj::Maybe<capnp::MessageReaderAndFds>&& got) -> kj::Maybe<capnp::MessageReaderAndFds> {
        KJ_IF_MAYBE (message, got) look_at(*message->reader);
        return kj::mv(got);
      });
}

void agent_session::gate::look_at(capnp::MessageReader& message) {
  switch (message.getRoot<capnp::rpc::Message>().which()) {
    case capnp::rpc::Message::CALL:
    case capnp::rpc::Message::BOOTSTRAP:
      KJ_REQUIRE(++open_calls_ <= open_calls_max, "The guest calls too much");
      break;
    case capnp::rpc::Message::FINISH: // of a call that there is: the RPC ends with any other
      if (open_calls_ > 0) --open_calls_;
      break;
    default:
      break;
  }
}

kj::Promise<void> agent_session::gate::writeMessage(kj::ArrayPtr<const int> fds,
                                                    kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) {
  return inner_.writeMessage(fds, segments);
}

kj::Promise<void>
agent_session::gate::writeMessages(kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) {
  return inner_.writeMessages(messages);
}

} // namespace troupe::guest
