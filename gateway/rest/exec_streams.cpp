#include "gateway/rest/exec_streams.hpp"

#include "gateway/exec_request.hpp"
#include "gateway/instance_logs.hpp"

#include <csignal>
#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {

namespace {

std::string recording_name(const std::string& operation, const std::string& stream) {
  return "exec_" + operation + (stream == "1" ? ".stdout" : ".stderr");
}

} // namespace

exec_streams::exec_streams(rest_request from, std::string operation, std::shared_ptr<exec_plan> plan, output to)
    : from_{std::move(from)}, operation_{std::move(operation)}, plan_{std::move(plan)}, output_{to},
      sockets_{to == output::websockets}, interactive_{plan_->interactive} {}

void exec_streams::expect(const std::vector<std::string>& required) {
  missing_.insert(required.begin(), required.end());
}

void exec_streams::connected(const std::string& name, std::shared_ptr<websocket> socket) {
  open_[name] = socket;
  if (name == "control") {
    std::weak_ptr<exec_streams> weak = shared_from_this();
    socket->on_message([weak](std::string text, bool) {
      if (auto self = weak.lock()) self->on_control(text);
    });
    socket->on_close([weak] { // a client that vanished takes its command along
      if (auto self = weak.lock()) self->kill();
    });
  }
  if (missing_.erase(name) && missing_.empty()) start();
}

void exec_streams::abandoned() { finish(false, {fault::timed_out, "Timed out waiting for websockets to connect"}, -1); }

void exec_streams::cut() {
  kill();
  if (!session_) return finish(false, {fault::cancelled, "Its owner is not trusted any more"}, -1);
  for (auto& [name, socket] : open_) socket->close();
}

outcome<void> exec_streams::make_pipes() {
  if (interactive_) return {};
  for (int i = 0; i < 3; ++i) {
    bool piped = sockets_ || (output_ == output::recording && i > 0);
    if (!piped) {
      plan_->stdio[i].reset(open("/dev/null", O_RDWR | O_CLOEXEC));
      continue;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "Cannot make a pipe");
    bool input = i == 0;
    plan_->stdio[i].reset(ends[input ? 0 : 1]);
    ends_[std::to_string(i)].reset(ends[input ? 1 : 0]);
  }
  return {};
}

// On the host's own disk; two empty files take no time.
outcome<void> exec_streams::make_recordings() {
  if (output_ != output::recording) return {};
  instance_logs logs{from_.with(), from_.head->project, from_.parameter(0)};
  for (auto stream : {"1", "2"}) {
    auto made = logs.record(recording_name(operation_, stream));
    if (!made) return tl::unexpected{made.error()};
    recordings_[stream] = std::move(*made);
  }
  return {};
}

void exec_streams::start() {
  if (finished_) return; // cut before
  if (auto made = make_recordings().and_then([this] { return make_pipes(); }); !made)
    return finish(false, made.error(), -1);
  auto self = shared_from_this();
  auto& io = from_.with().io;
  ask<exec_session_ptr>(
      from_, role::instances,
      [self, &io](const outcome<exec_session_ptr>& session) {
        io.post([self, session] {
          if (session)
            self->started(*session);
          else
            self->finish(false, session.error(), -1);
        });
      },
      to_instance{from_.head->project, from_.parameter(0)}, run_exec{from_.head, plan_});
}

void exec_streams::started(exec_session_ptr session) {
  if (finished_) return; // cut while it began: the end of its session is the command's
  auto self = shared_from_this();
  session_ = std::move(session);
  auto& io = from_.with().io;
  using way = fd_pump::direction;
  auto told = [self](bool from_fd) {
    if (from_fd) self->output_ended();
  };
  if (interactive_ && sockets_) {
    outputs_ = 1;
    pumps_.push_back(
        fd_pump::start(io, unique_fd{fcntl(session_->pty(), F_DUPFD_CLOEXEC, 0)}, open_["0"], way::both, told));
  } else if (sockets_) {
    outputs_ = 2;
    pumps_.push_back(fd_pump::start(io, std::move(ends_["0"]), open_["0"], way::from_socket, [](bool) {}));
    for (auto name : {"1", "2"}) {
      if (!open_.count("control")) {
        std::weak_ptr<exec_streams> weak = self;
        open_[name]->on_close([weak] {
          if (auto me = weak.lock()) me->kill();
        });
      }
      pumps_.push_back(fd_pump::start(io, std::move(ends_[name]), open_[name], way::to_socket, told));
    }
  }
  if (output_ == output::recording) {
    outputs_ = 2;
    for (auto& [name, file] : recordings_)
      recorders_.push_back(
          output_recorder::start(io, std::move(ends_[name]), std::move(file), [self] { self->output_ended(); }));
  }
  watch_ = io.watch_readable(session_->done_fd(), [self] { self->command_ended(); });
  if (leaving_) kill(); // before there was anything to kill
}

void exec_streams::on_control(const std::string& text) {
  if (!session_) return;
  if (auto size = window_size_in(text)) return static_cast<void>(session_->resize(size->first, size->second));
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("command", nlohmann::json{}) != "signal") return;
  if (auto number = json.find("signal"); number != json.end() && number->is_number_integer())
    static_cast<void>(session_->signal(number->get<int>()));
}

void exec_streams::kill() {
  leaving_ = true;
  if (session_ && !status_) static_cast<void>(session_->signal(SIGKILL));
}

void exec_streams::command_ended() {
  watch_.reset();
  auto result = session_->result();
  if (!result) log().warn("Exec {}: {}", operation_, result.error().message);
  status_ = result ? *result : -1;
  for (auto& pump : pumps_) pump->drain_and_stop();
  for (auto& recorder : std::vector{recorders_}) recorder->drain_and_stop(); // the last one may end us
  if (outputs_ == 0) output_ended();
}

void exec_streams::output_ended() {
  if (outputs_ > 0) --outputs_;
  if (outputs_ > 0 || !status_) return;
  auto judged = judge_exec(*status_);
  finish(judged.has_value(), judged ? error{} : judged.error(), *status_);
}

void exec_streams::finish(bool succeeded, error why, int status) {
  if (std::exchange(finished_, true)) return;
  watch_.reset();
  if (auto control = open_.find("control"); control != open_.end()) control->second->close();
  for (auto& [name, socket] : open_)
    if (name != "control") socket->close();
  finish_live end{operation_, succeeded, std::move(why), {{"return", std::to_string(status)}}};
  if (output_ == output::recording && session_) {
    nlohmann::json urls;
    for (auto stream : {"1", "2"})
      urls[stream] = "/1.0/instances/" + from_.parameter(0) + "/logs/exec-output/" + recording_name(operation_, stream);
    end.metadata.emplace_back("output", urls.dump());
  }
  caf::anon_send(from_.with().find(role::operations), std::move(end));
  from_.context.streams.close(operation_);
  pumps_.clear();
  recorders_.clear();
  open_.clear();
}

} // namespace troupe
