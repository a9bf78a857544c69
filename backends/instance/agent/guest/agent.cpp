#include "backends/instance/agent/guest/agent.hpp"

#include "backends/instance/agent/guest/command.hpp"
#include "backends/instance/agent/guest/file_process.hpp"
#include "backends/instance/agent/guest/power.hpp"
#include "backends/instance/agent/guest/report.hpp"

#include <capnp/rpc-twoparty.h>
#include <cerrno>
#include <ctime>
#include <kj/debug.h>

namespace troupe::guest {
namespace {

constexpr capnp::ReaderOptions frame_limits{4 << 20, 64}; // words of one message of the daemon's, depth of its pointers

void fill_error(schema::Error::Builder out, const error& why) {
  out.setCode(static_cast<uint16_t>(why.code));
  out.setMessage(why.message);
}

class services final : public Agent::Server {
public:
  explicit services(kj::UnixEventPort& port) : port_{port} {}

  kj::Promise<void> exec(ExecContext context) override {
    auto begun = begin_command(port_, context.getParams().getPlan());
    if (!begun) return refuse(context, begun.error());
    auto report = kj::heap<loop_fd>(port_, std::move(begun->report));
    auto buffer = kj::heapArray<kj::byte>(report_bytes);
    auto got = report->read(buffer.begin(), buffer.size());
    return got.attach(kj::mv(report))
        .then([this, context, buffer = kj::mv(buffer), begun = std::move(*begun)](size_t size) mutable {
          auto params = context.getParams();
          auto plan = params.getPlan();
          if (auto good = why_not(buffer.slice(0, size), plan); !good) return refuse(context, good.error());
          auto running =
              kj::heap<command>(port_, std::move(begun), plan.getInteractive(), params.getOutput(), params.getError());
          context.getResults().setInput(running->input());
          context.getResults().setProcess(kj::mv(running));
          return kj::Promise<void>{kj::READY_NOW};
        });
  }

  kj::Promise<void> file(FileContext context) override {
    auto params = context.getParams();
    auto started = start_file_process(port_, params.getJob(), params.getOutput());
    if (!started) return KJ_EXCEPTION(FAILED, started.error().message);
    context.getResults().setInput(*started);
    return kj::READY_NOW;
  }

  kj::Promise<void> report(ReportContext context) override {
    fill_report(context.getResults().initReport());
    return kj::READY_NOW;
  }

  kj::Promise<void> shutdown(ShutdownContext context) override {
    return go_down(port_, context.getParams().getReboot()).then([context](outcome<void>&& done) mutable {
      if (!done) fill_error(context.getResults().initFailure(), done.error());
    });
  }

  kj::Promise<void> setClock(SetClockContext context) override {
    constexpr int64_t second = 1'000'000'000;
    auto now = context.getParams().getNanoseconds();
    timespec time{now / second, now % second};
    if (::clock_settime(CLOCK_REALTIME, &time) != 0)
      fill_error(context.getResults().initFailure(), fail_errno(errno, "Cannot set the clock").value());
    return kj::READY_NOW;
  }

private:
  kj::Promise<void> refuse(ExecContext& context, const error& why) {
    fill_error(context.getResults().initFailure(), why);
    return kj::READY_NOW;
  }

  kj::UnixEventPort& port_;
};

} // namespace

struct agent::session {
  uint64_t number;
  kj::Own<kj::AsyncIoStream> stream;
  capnp::TwoPartyVatNetwork network{*stream, capnp::rpc::twoparty::Side::SERVER, frame_limits};
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc;

  session(uint64_t of, kj::Own<kj::AsyncIoStream> from, kj::UnixEventPort& port)
      : number{of}, stream{kj::mv(from)}, rpc{capnp::makeRpcServer(network, kj::heap<services>(port))} {}
};

agent::agent(kj::UnixEventPort& port, unique_fd pipe, line::at_end how)
    : port_{port}, line_{port, port.getTimer(), std::move(pipe), how, *this}, tasks_{errors_} {}

agent::~agent() = default;

void agent::session_began(kj::Own<kj::AsyncIoStream> stream) {
  session_ = std::make_unique<session>(++sessions_, kj::mv(stream), port_);
  // It is over for the RPC (a broken message): begun again, if it was not already.
  tasks_.add(session_->network.onDisconnect().then([this, number = sessions_] {
    if (session_ && session_->number == number) line_.begin_anew();
  }));
}

void agent::session_ended() {
  tasks_.add(kj::evalLater([gone = std::move(session_)]() mutable { gone.reset(); }));
}

} // namespace troupe::guest
