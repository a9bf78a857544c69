#include "backends/instance/agent/agent_client.hpp"

#include "backends/instance/agent/agent_connection.hpp"
#include "backends/instance/agent/agent_loop.hpp"
#include "backends/instance/agent/file_tunnel.hpp"
#include "backends/instance/agent/guest_text.hpp"
#include "backends/instance/agent/remote_command.hpp"
#include "backends/instance/file_job.hpp"

#include <cerrno>
#include <chrono>
#include <future>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace troupe {
namespace guest {
namespace {

constexpr auto patience = 5 * kj::SECONDS, report_patience = 2 * kj::SECONDS;
constexpr uint32_t content_seconds = 60; // for one piece of it

tl::unexpected<error> no_agent() {
  return fail(fault::wrong_state, "No agent answers in the instance: it has not started yet, or there is none");
}
tl::unexpected<error> too_late() { return fail(fault::timed_out, "The agent in the instance did not answer in time"); }
tl::unexpected<error> broken(const kj::Exception& why) {
  if (why.getType() == kj::Exception::Type::UNIMPLEMENTED)
    return fail(fault::unsupported, "The agent in the instance is too old for that");
  return fail(fault::backend_failed, "The agent in the instance has gone, or gave a wrong answer");
}

struct socket_pair {
  unique_fd ours, loops;
};
outcome<socket_pair> make_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "Cannot make a socketpair");
  return socket_pair{unique_fd{ends[0]}, unique_fd{ends[1]}};
}

class client final : public agent_client {
public:
  client(std::shared_ptr<agent_loop> on, const std::string& socket, std::function<void(bool)> heard)
      : loop_{std::move(on)} {
    loop_->run([&](kj::AsyncIoContext& io) {
      connection_ = std::make_unique<agent_connection>(io, socket, std::move(heard), connected_);
    });
  }
  ~client() override {
    loop_->run([this](auto&) { connection_ = nullptr; });
  }

  bool connected() const override { return *connected_; }

  outcome<std::unique_ptr<exec_session>> exec(exec_plan plan) override {
    for (auto& end : plan.ends) end.reset();
    unique_fd terminal, loops;
    if (plan.interactive) {
      auto pair = make_pair();
      if (!pair) return tl::unexpected{pair.error()};
      terminal = std::move(pair->ours);
      loops = std::move(pair->loops);
    } else if (!plan.stdio[0] || !plan.stdio[1] || !plan.stdio[2]) {
      return fail(fault::internal, "The command's descriptors are missing");
    }
    auto end = std::make_shared<command_end>();
    end->done.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!end->done) return fail_errno(errno, "Cannot make an eventfd");
    auto running = ask<std::unique_ptr<remote_command>>(patience, [&](agent_session& with) {
      auto command = std::make_unique<remote_command>(connection_->port(), plan, std::move(loops), end);
      auto request = with.agent().execRequest();
      command->fill(request, plan);
      return request.send().then([command = std::move(command)](capnp::Response<Agent::ExecResults>&& answer) mutable
                                 -> outcome<std::unique_ptr<remote_command>> {
        if (auto good = outcome_of(answer.getFailure()); !good) return tl::unexpected{good.error()};
        command->run(answer.getProcess(), answer.getInput());
        return std::move(command);
      });
    });
    if (!running) return tl::unexpected{running.error()};
    return std::make_unique<remote_session>(loop_, std::move(*running), std::move(end), std::move(terminal));
  }

  outcome<file_info> read_file(const std::string& path) override {
    auto reply = begin_file(path, true, [](schema::FileJob::Builder job) { job.setRead(); });
    if (!reply) return tl::unexpected{reply.error()};
    limit_waiting(reply->socket.get(), content_seconds);
    return understand(
        [&] { return read_info(*reply).and_then([](file_info&& info) { return tame(std::move(info)); }); });
  }
  outcome<unique_fd> write_file(const std::string& path, const file_write& how) override {
    auto reply = begin_file(path, false, [&](schema::FileJob::Builder job) { fill_write(job.initWrite(), how); });
    if (!reply) return tl::unexpected{reply.error()};
    if (how.type != 'f') return unique_fd{};
    limit_waiting(reply->socket.get(), content_seconds);
    return std::move(reply->socket);
  }
  outcome<void> finish_write(const unique_fd& file) override {
    auto done = finish_upload(file);
    return done ? std::move(done) : tl::unexpected{tame(done.error())};
  }
  outcome<void> remove_file(const std::string& path) override {
    auto reply = begin_file(path, false, [](schema::FileJob::Builder job) { job.setRemove(); });
    return reply ? outcome<void>{} : tl::unexpected{reply.error()};
  }
  outcome<unique_fd> serve_sftp() override {
    auto reply = begin_file("/", false, [](schema::FileJob::Builder job) { job.setSftp(); });
    if (!reply) return tl::unexpected{reply.error()};
    return std::move(reply->socket);
  }

  std::optional<guest_report> report() override {
    auto told = ask<guest_report>(report_patience, [](agent_session& with) {
      return with.agent().reportRequest().send().then(
          [](capnp::Response<Agent::ReportResults>&& answer) -> outcome<guest_report> {
            return report_of(answer.getReport());
          });
    });
    return told ? std::optional{std::move(*told)} : std::nullopt;
  }

  outcome<void> request_stop(bool reboot) override {
    return ask<void>(patience, [reboot](agent_session& with) {
      auto request = with.agent().shutdownRequest();
      request.setReboot(reboot);
      // Init may have ended the agent before it could answer.
      return request.send().then(
          [](capnp::Response<Agent::ShutdownResults>&& answer) { return outcome_of(answer.getFailure()); },
          [](kj::Exception&&) { return outcome<void>{}; });
    });
  }

  outcome<void> set_clock() override {
    return ask<void>(patience, [](agent_session& with) {
      auto request = with.agent().setClockRequest();
      request.setNanoseconds(std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds{1});
      return request.send().then(
          [](capnp::Response<Agent::SetClockResults>&& answer) { return outcome_of(answer.getFailure()); });
    });
  }

private:
  /// Runs `begin` on the loop, with the session, and waits for what it promises: from any thread but the loop's.
  template <class T, class Begin>
  outcome<T> ask(kj::Duration most, Begin begin) {
    auto answer = std::make_shared<std::promise<outcome<T>>>();
    auto told = answer->get_future();
    loop_->run([&, answer](auto&) {
      auto* session = connection_->session();
      if (session == nullptr) return answer->set_value(no_agent());
      if (session->is_clogged()) return answer->set_value(too_late());
      auto late = connection_->timer().afterDelay(most).then([]() -> outcome<T> { return too_late(); });
      connection_->keep(kj::evalNow([&] { return begin(*session); })
                            .exclusiveJoin(kj::mv(late))
                            .then([answer](outcome<T>&& value) { answer->set_value(std::move(value)); },
                                  [answer](kj::Exception&& why) { answer->set_value(broken(why)); }));
    });
    answer.reset();
    try {
      return told.get();
    } catch (const std::future_error&) { // the client was dropped meanwhile
      return no_agent();
    }
  }

  /// A file job of the guest, up to its first answer.
  template <class Fill>
  outcome<job_reply> begin_file(const std::string& path, bool reads, Fill fill) {
    auto pair = make_pair();
    if (!pair) return tl::unexpected{pair.error()};
    auto answered = std::make_shared<std::atomic<bool>>(false); // else the tunnel is closed, however it trickles
    auto begun = ask<void>(patience, [&](agent_session& with) {
      auto tunnel = kj::heap<file_tunnel>(connection_->port(), std::move(pair->loops), reads);
      auto request = with.agent().fileRequest();
      auto job = request.initJob();
      job.setPath(path);
      fill(job);
      request.setOutput(tunnel->output());
      return request.send().then([tunnel = kj::mv(tunnel), &connection = *connection_,
                                  answered](capnp::Response<Agent::FileResults>&& answer) mutable -> outcome<void> {
        auto way = tunnel->run(answer.getInput());
        auto too_slow = connection.timer().afterDelay(patience).then([answered]() -> kj::Promise<void> {
          if (*answered) return kj::NEVER_DONE;
          return kj::READY_NOW;
        });
        connection.keep(way.exclusiveJoin(kj::mv(too_slow)).attach(kj::mv(tunnel)));
        return {};
      });
    });
    if (!begun) return tl::unexpected{begun.error()};
    auto reply = understand([&] { return next_answer(pair->ours.get()); });
    if (!reply) return tl::unexpected{tame(reply.error())};
    *answered = true;
    reply->socket = std::move(pair->ours);
    return reply;
  }

  /// What a guest wrote may be anything.
  template <class Read>
  static auto understand(Read read) -> decltype(read()) {
    try {
      return read();
    } catch (const kj::Exception& why) {
      return broken(why);
    }
  }

  const std::shared_ptr<agent_loop> loop_;
  const std::shared_ptr<std::atomic<bool>> connected_ = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<agent_connection> connection_; // the loop's
};

class clients final : public agent_clients {
public:
  std::shared_ptr<agent_client> open(const std::string& socket, std::function<void(bool)> heard) override {
    return std::make_shared<client>(loop_, socket, std::move(heard));
  }

private:
  std::shared_ptr<agent_loop> loop_ = std::make_shared<agent_loop>();
};

} // namespace
} // namespace guest

std::unique_ptr<agent_clients> make_agent_clients() { return std::make_unique<guest::clients>(); }

} // namespace troupe
