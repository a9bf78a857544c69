#include "backends/instance/agent/remote_command.hpp"

#include <algorithm>
#include <csignal>
#include <sys/eventfd.h>
#include <sys/stat.h>

namespace troupe::guest {
namespace {

/// What is left of a recording's bound.
uint64_t room_in(int file, uint64_t bound) {
  struct stat info {};
  if (::fstat(file, &info) != 0) return 0;
  return bound - std::min(bound, static_cast<uint64_t>(info.st_size));
}

} // namespace

void command_end::tell(outcome<int> how) {
  {
    std::lock_guard hold{lock};
    if (status) return;
    status = std::move(how);
  }
  ::eventfd_write(done.get(), 1);
}

remote_command::remote_command(kj::UnixEventPort& port, exec_plan& plan, unique_fd terminal,
                               std::shared_ptr<command_end> end)
    : interactive_{plan.interactive}, record_{plan.record}, end_{std::move(end)} {
  if (interactive_) {
    fds_[0] = std::make_shared<loop_fd>(port, std::move(terminal));
    return;
  }
  for (int i = 0; i < 3; ++i)
    if (plan.stdio[i]) fds_[i] = std::make_shared<loop_fd>(port, std::move(plan.stdio[i]));
}

remote_command::~remote_command() {
  close_all();
  end_->tell(fail(fault::cancelled, "The command was given up"));
}

void remote_command::fill(Agent::ExecParams::Builder params, const exec_plan& plan) {
  auto out = params.initPlan();
  troupe::fill(out.initCommand(static_cast<unsigned>(plan.command.size())), plan.command);
  troupe::fill(out.initEnvironment(static_cast<unsigned>(plan.environment.size())), plan.environment);
  out.setUid(plan.uid);
  out.setGid(plan.gid);
  out.setCwd(plan.cwd);
  out.setInteractive(plan.interactive);
  out.setWidth(plan.width);
  out.setHeight(plan.height);
  params.setOutput(output(1));
  if (!interactive_) params.setError(output(2));
}

ByteStream::Client remote_command::output(int stream) {
  auto& to = interactive_ ? fds_[0] : fds_[stream];
  auto receiver = kj::heap<fd_receiver>(to, interactive_);
  if (record_ > 0 && to) receiver->limit(room_in(to->get(), record_));
  return kj::mv(receiver);
}

void remote_command::run(Process::Client process, ByteStream::Client input) {
  process_ = process;
  if (fds_[0]) {
    sender_ = std::make_unique<fd_sender>(fds_[0], kj::mv(input));
    sent_ = sender_->run().catch_([](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
  }
  ended_ =
      process.waitRequest()
          .send()
          .then(
              [this](capnp::Response<Process::WaitResults>&& answer) {
                close_all();
                end_->tell(answer.getStatus() & 0xff);
              },
              [this](kj::Exception&&) {
                close_all();
                end_->tell(fail(fault::backend_failed, "The agent in the instance has gone, and the command with it"));
              })
          .eagerlyEvaluate(nullptr);
}

/// Who reads from us sees the end of it, also while the guest still holds its streams.
void remote_command::close_all() {
  for (auto& fd : fds_)
    if (fd) fd->close();
}

void remote_command::signal(int number) {
  KJ_IF_MAYBE (process, process_) {
    auto request = process->signalRequest();
    request.setNumber(number);
    asked_ = request.send().ignoreResult().catch_([](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
  }
}

void remote_command::resize(uint16_t width, uint16_t height) {
  KJ_IF_MAYBE (process, process_) {
    auto request = process->resizeRequest();
    request.setWidth(width);
    request.setHeight(height);
    asked_ = request.send().ignoreResult().catch_([](kj::Exception&&) {}).eagerlyEvaluate(nullptr);
  }
}

remote_session::remote_session(std::shared_ptr<agent_loop> on, std::unique_ptr<remote_command> command,
                               std::shared_ptr<command_end> end, unique_fd terminal)
    : loop_{std::move(on)}, command_{std::move(command)}, end_{std::move(end)}, terminal_{std::move(terminal)} {}

remote_session::~remote_session() {
  loop_->run([this](auto&) { command_ = nullptr; });
}

outcome<int> remote_session::result() {
  std::lock_guard hold{end_->lock};
  if (!end_->status) return fail(fault::wrong_state, "The command has not ended");
  return *end_->status;
}

outcome<void> remote_session::signal(int number) {
  if (number < 1 || number > SIGRTMAX) return fail(fault::invalid, "There is no signal " + std::to_string(number));
  loop_->run([this, number](auto&) { command_->signal(number); });
  return {};
}

outcome<void> remote_session::resize(uint16_t width, uint16_t height) {
  if (!terminal_) return fail(fault::wrong_state, "The command has no terminal");
  loop_->run([this, width, height](auto&) { command_->resize(width, height); });
  return {};
}

} // namespace troupe::guest
