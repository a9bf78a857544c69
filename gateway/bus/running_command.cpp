#include "gateway/bus/running_command.hpp"

#include "actors/operations.hpp"
#include "gateway/bus/error.hpp"
#include "gateway/exec_request.hpp"

#include <csignal>
#include <fcntl.h>

namespace troupe::on_bus {

namespace {
constexpr size_t chunk_bytes = 64 << 10;
}

// One output. What a command leaves running may hold the pipe open for ever: after the command's end only what is in
// the pipe already is taken.
class running_command::pump {
public:
  pump(running_command& of, command_streams::output&& what)
      : of_{of}, from_{std::move(what.from)}, sink_{kj::mv(what.sink)},
        readable_{of.port_, from_.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ} {
    fcntl(from_.get(), F_SETFL, fcntl(from_.get(), F_GETFL) | O_NONBLOCK);
  }

  kj::Promise<void> run() {
    auto got = read(from_.get(), buffer_.begin(), buffer_.size());
    if (got > 0) return deliver(static_cast<size_t>(got)).then([this] { return run(); });
    if (got < 0 && errno == EINTR) return run();
    bool later = got < 0 && errno == EAGAIN;
    if (!later || of_.ended_) return finish();
    return readable_.whenBecomesReadable().exclusiveJoin(of_.process_end_.addBranch()).then([this] { return run(); });
  }

private:
  kj::Promise<void> deliver(size_t size) {
    KJ_IF_MAYBE (sink, sink_) {
      auto request = sink->writeRequest(capnp::MessageSize{size / 8 + 16, 0});
      request.setBytes(kj::arrayPtr(buffer_.begin(), size));
      return request.send();
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> finish() {
    KJ_IF_MAYBE (sink, sink_) return sink->endRequest().send().ignoreResult();
    return kj::READY_NOW;
  }

  running_command& of_;
  unique_fd from_;
  kj::Maybe<bus::ByteStream::Client> sink_;
  kj::UnixEventPort::FdObserver readable_;
  kj::Array<kj::byte> buffer_ = kj::heapArray<kj::byte>(chunk_bytes);
};

running_command::running_command(const place& at, std::string operation, exec_session_ptr session)
    : with_{at.with()}, ending_{*at.of->ending}, operation_{std::move(operation)}, session_{std::move(session)},
      port_{at.of->io.unixEventPort}, done_{kj::heap<kj::UnixEventPort::FdObserver>(
                                          port_, session_->done_fd(), kj::UnixEventPort::FdObserver::OBSERVE_READ)} {}

std::shared_ptr<running_command> running_command::start(const place& at, std::string operation,
                                                        exec_session_ptr session,
                                                        std::vector<command_streams::output> outputs) {
  auto made = std::make_shared<running_command>(at, std::move(operation), std::move(session));
  made->process_end_ = made->done_->whenBecomesReadable().then([raw = made.get()] { raw->ended_ = true; }).fork();
  for (auto& output : outputs) made->pumps_.push_back(std::make_unique<pump>(*made, std::move(output)));
  made->end_ = made->watch()
                   .then([raw = made.get()] {
                     auto status = raw->session_->result();
                     if (!status) log().warn("Exec {}: {}", raw->operation_, status.error().message);
                     int code = status ? *status : -1;
                     finish_command(raw->with_, raw->operation_, judge_exec(code), code, raw->session_);
                     return code;
                   })
                   .fork();
  at.of->background.add(made->end().then([made](int) {}));
  return made;
}

// A sink that fails takes the command along: nobody listens any more.
kj::Promise<void> running_command::watch() {
  kj::Vector<kj::Promise<void>> all;
  for (auto& one : pumps_) all.add(one->run().catch_([this](kj::Exception&&) { kill(); }));
  return kj::joinPromises(all.releaseAsArray()).then([this] { return process_end_.addBranch(); });
}

void running_command::kill() {
  if (!ended_ && !ending_) static_cast<void>(session_->signal(SIGKILL));
}

void finish_command(const services& with, const std::string& operation, const outcome<void>& how, int status,
                    exec_session_ptr session) {
  caf::anon_send(
      with.find(role::operations),
      finish_live{operation, how.has_value(), how ? error{} : how.error(), {{"return", std::to_string(status)}}});
  if (!session) return;
  ask_through<operation_record>(
      role::bus_door, with, role::operations, [session](const outcome<operation_record>&) { session->forget(); },
      await_operation{operation});
}

} // namespace troupe::on_bus
