#include "gateway/exec_request.hpp"

#include "actors/operation_record.hpp"
#include "gateway/bus/ask.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/bus/running_command.hpp"

#include <fcntl.h>

namespace troupe::on_bus {
namespace {

struct pipe_ends {
  unique_fd read, write;
};

pipe_ends make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) refuse(fail_errno(errno, "Cannot make a pipe").value());
  return {unique_fd{ends[0]}, unique_fd{ends[1]}};
}

unique_fd nowhere() { return unique_fd{open("/dev/null", O_RDWR | O_CLOEXEC)}; }

class process final : public bus::Process::Server {
public:
  process(const place& at, std::shared_ptr<running_command> command)
      : engaged_{at.of->doings}, command_{std::move(command)} {}
  ~process() noexcept(false) { command_->kill(); }

  kj::Promise<void> wait(WaitContext context) override {
    context.allowCancellation();
    return command_->end().then([context](int status) mutable { context.getResults().setExitCode(status); });
  }
  kj::Promise<void> signal(SignalContext context) override {
    value_of(command_->session().signal(context.getParams().getNumber()));
    return kj::READY_NOW;
  }
  kj::Promise<void> resize(ResizeContext context) override {
    auto params = context.getParams();
    value_of(command_->session().resize(params.getWidth(), params.getHeight()));
    return kj::READY_NOW;
  }

private:
  activity::engagement engaged_;
  std::shared_ptr<running_command> command_;
};

class input final : public bus::ByteStream::Server {
public:
  input(kj::Own<kj::AsyncOutputStream> to, std::shared_ptr<running_command> of) : to_{kj::mv(to)}, of_{std::move(of)} {}
  ~input() noexcept(false) { of_->end_input(); }

  kj::Promise<void> write(WriteContext context) override {
    if (!to_) refuse(fault::wrong_state, "The input was ended");
    auto bytes = context.getParams().getBytes();
    return to_->write(bytes.begin(), bytes.size());
  }
  kj::Promise<void> end(EndContext) override {
    to_ = nullptr;
    of_->end_input();
    return kj::READY_NOW;
  }

private:
  kj::Own<kj::AsyncOutputStream> to_;
  std::shared_ptr<running_command> of_;
};

using results_type = bus::Instance::ExecResults;
using params_type = bus::Instance::ExecParams;

// A non-interactive command gets pipes; ours are the other ends, which are told.
std::array<int, 3> connect_pipes(params_type::Reader params, exec_plan& plan, command_streams& ours) {
  std::array<int, 3> ends{-1, -1, -1};
  auto in = make_pipe();
  plan.stdio[0] = std::move(in.read);
  ours.input = std::move(in.write);
  ends[0] = ours.input.get();
  kj::Maybe<bus::ByteStream::Client> sinks[2];
  if (params.hasStdout()) sinks[0] = params.getStdout();
  if (params.hasStderr()) sinks[1] = params.getStderr();
  for (int i = 0; i < 2; ++i) {
    KJ_IF_MAYBE (sink, sinks[i]) {
      auto out = make_pipe();
      plan.stdio[i + 1] = std::move(out.write);
      ends[i + 1] = out.read.get();
      ours.outputs.push_back({std::move(out.read), *sink});
    } else {
      plan.stdio[i + 1] = nowhere();
    }
  }
  return ends;
}

void connect_terminal(params_type::Reader params, int pty, command_streams& ours) {
  ours.input.reset(fcntl(pty, F_DUPFD_CLOEXEC, 0));
  ours.outputs.push_back({unique_fd{fcntl(pty, F_DUPFD_CLOEXEC, 0)}, nullptr});
  if (params.hasStdout()) ours.outputs.back().sink = params.getStdout();
}

void reply_running(const call_ptr& c, const std::string& operation, exec_session_ptr session, command_streams ours) {
  auto& low = *c->at.of->io.lowLevelProvider;
  auto flags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP | kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC;
  auto to = low.wrapOutputFd(ours.input.release(), flags);
  auto command = running_command::start(c->at, operation, std::move(session), std::move(ours.outputs));
  auto results = c->results<results_type>();
  results.setProcess(kj::heap<process>(c->at, command));
  results.setStdin(kj::heap<input>(kj::mv(to), command));
  auto where = c->at;
  where.names = {operation};
  results.setOperation(handle_of<bus::Operation>(where));
}

} // namespace

kj::Promise<void> exec_instance(const call_ptr& c) {
  auto post = c->params<params_type>().getCommand();
  if (post.getRecordOutput())
    refuse(fault::unsupported, "On the bus a command's output goes to the caller's streams: record it there");
  if (post.getWaitForWebsocket()) refuse(fault::invalid, "A command on the bus has streams, not websockets");
  auto plan = value_of(plan_exec(c->with().db.read(), c->at.key(), post));
  return ask<operation_record>(c->at, role::operations,
                               exec_operation(c->at.head,
                                              type_of(c->with().db.read(), c->at.head->project, c->at.name()),
                                              c->at.name(), post))
      .then([c, plan](operation_record&& record) {
        auto ours = std::make_shared<command_streams>();
        std::array<int, 3> ends{-1, -1, -1};
        if (!plan->interactive) ends = connect_pipes(c->params<params_type>(), *plan, *ours);
        exec_facts facts{c->at.head->project, c->at.name(), c->at.head->who.username};
        facts.interactive = plan->interactive;
        facts.operation = record;
        outlive(*plan, facts, ends);
        auto id = id_of(record);
        return ask<exec_session_ptr>(c->at, role::instances, to_instance{c->at.head->project, c->at.name()},
                                     run_exec{c->at.head, plan})
            .then(
                [c, id, ours](exec_session_ptr&& session) {
                  if (session->pty() >= 0) connect_terminal(c->params<params_type>(), session->pty(), *ours);
                  reply_running(c, id, std::move(session), std::move(*ours));
                },
                [c, id](kj::Exception&& why) {
                  auto text = std::string{why.getDescription().cStr()};
                  finish_command(c->with(), id, fail(fault::backend_failed, text), -1);
                  kj::throwFatalException(kj::mv(why));
                });
      });
}

} // namespace troupe::on_bus
