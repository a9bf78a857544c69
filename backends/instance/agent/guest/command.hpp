#pragma once

#include "backends/instance/agent/guest/child.hpp"
#include "backends/instance/agent/streams.hpp"
#include "messages/error.hpp"

#include <memory>
#include <sys/ioctl.h>

namespace troupe::guest {

/// A command that was begun: its process is on the way to its first instruction.
struct begun_command {
  kj::Own<child> process;
  unique_fd report;               // ends when the command runs; else why it does not, see `why_not`
  unique_fd input, output, error; // our ends; of a terminal `output` is its master, for both ways
};
outcome<begun_command> begin_command(kj::UnixEventPort& port, Plan::Reader plan);

/// What came from `report`: nothing when the command runs, or when there is no such program: that is its status.
outcome<void> why_not(kj::ArrayPtr<const kj::byte> report, Plan::Reader plan);
constexpr size_t report_bytes = 2 * sizeof(int);

/// A command that runs, for who holds it.
class command final : public Process::Server {
public:
  command(kj::UnixEventPort& port, begun_command begun, bool interactive, ByteStream::Client output,
          ByteStream::Client error);
  ~command() noexcept(false);
  /// What the command reads.
  ByteStream::Client input();

  kj::Promise<void> wait(WaitContext context) override;
  kj::Promise<void> signal(SignalContext context) override;
  kj::Promise<void> resize(ResizeContext context) override;

private:
  kj::Promise<int> follow();

  kj::Own<child> process_;
  bool interactive_;
  std::shared_ptr<loop_fd> input_, output_;
  std::vector<std::unique_ptr<fd_sender>> senders_;
  kj::ForkedPromise<void> sent_ = nullptr;
  kj::ForkedPromise<int> ended_ = nullptr;
};

} // namespace troupe::guest
