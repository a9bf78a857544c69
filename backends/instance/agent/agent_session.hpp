#pragma once

#include "backends/instance/agent/line.hpp"
#include "messages/agent.capnp.h"

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize-async.h>

namespace troupe::guest {

/// The RPC of one session with a guest, as the guest can make it cost us: messages are small, calls without an answer
/// bounded, and nothing more is read from who does not read our answers. On the loop's thread.
class agent_session {
public:
  agent_session(uint64_t number, kj::Own<kj::AsyncIoStream> stream, line& of);
  KJ_DISALLOW_COPY(agent_session);

  const uint64_t number;
  /// The guest has broken the protocol, or the stream has ended.
  kj::Promise<void> over() { return network_.onDisconnect(); }
  /// It does not read what was sent long ago: more would only be kept here.
  bool is_clogged() { return network_.getCurrentQueueSize() > clogged_bytes; }
  Agent::Client& agent() { return agent_; }

private:
  /// Counts the guest's calls that it has not taken the answers of.
  class gate final : public capnp::MessageStream {
  public:
    explicit gate(kj::AsyncIoStream& inner) : inner_{inner} {}
    kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(kj::ArrayPtr<kj::AutoCloseFd> fds,
                                                                      capnp::ReaderOptions options,
                                                                      kj::ArrayPtr<capnp::word> scratch) override;
    kj::Promise<void> writeMessage(kj::ArrayPtr<const int> fds,
                                   kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override;
    kj::Promise<void>
    writeMessages(kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override;
    kj::Maybe<int> getSendBufferSize() override { return nullptr; }
    kj::Promise<void> end() override { return inner_.end(); }

  private:
    void look_at(capnp::MessageReader& message);
    capnp::AsyncIoMessageStream inner_;
    size_t open_calls_ = 0;
  };

  static constexpr size_t unread_bytes_max = 1 << 20; // of answers; then the guest is not read from
  static constexpr size_t clogged_bytes = 8 << 20;

  kj::Own<kj::AsyncIoStream> stream_;
  gate gate_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
  Agent::Client agent_;
};

} // namespace troupe::guest
