#include "gateway/rest/exec_streams.hpp"

#include "actors/operation_record.hpp"
#include "gateway/instance_logs.hpp"
#include "messages/json_read.hpp"

#include <csignal>
#include <fcntl.h>
#include <nlohmann/json.hpp>

namespace troupe {

namespace {

constexpr std::chrono::seconds retry_pause{1};

std::string recording_name(const std::string& operation, const std::string& stream) {
  return "exec_" + operation + (stream == "1" ? ".stdout" : ".stderr");
}

std::vector<std::string> required_streams(bool interactive) {
  return interactive ? std::vector<std::string>{"0", "control"} : std::vector<std::string>{"0", "1", "2"};
}

} // namespace

exec_streams::exec_streams(rest_context& context, exec_facts facts, std::shared_ptr<exec_plan> plan,
                           std::shared_ptr<const header> head)
    : context_{context}, facts_{std::move(facts)},
      operation_{id_of(facts_.operation)}, plan_{std::move(plan)}, head_{std::move(head)} {}

// ---- who connects, and who goes

void exec_streams::expect(const std::vector<std::string>& required) {
  arriving_.clear();
  missing_ = {required.begin(), required.end()};
}

void exec_streams::connected(const std::string& name, std::shared_ptr<websocket> socket) {
  if (finished_) return socket->close();
  if (missing_.empty()) { // whoever sits here has sat down without it
    open_[name] = std::move(socket);
    return hear(name);
  }
  arriving_[name] = std::move(socket);
  if (!missing_.erase(name) || !missing_.empty()) return;
  if (begun_) return sit_down();
  open_ = std::exchange(arriving_, {});
  if (open_.count("control")) hear("control");
  start();
}

void exec_streams::abandoned() { finish(false, {fault::timed_out, "Timed out waiting for websockets to connect"}, -1); }

void exec_streams::cut() {
  kill();
  if (!session_ && !moving_) return finish(false, {fault::cancelled, "Its owner is not trusted any more"}, -1);
  for (auto& [name, socket] : open_) socket->close();
}

outcome<std::vector<std::string>> exec_streams::offer_seat(window_size size) {
  if (!session_ && !moving_) return fail(fault::wrong_state, "The command has not begun yet");
  if (status_ || finished_) return fail(fault::wrong_state, "The command has ended");
  bool has_streams = facts_.output == exec_output::streams || facts_.interactive;
  if (!has_streams) return fail(fault::unsupported, "Nobody can attach to a command without streams");
  auto names = required_streams(facts_.interactive);
  expect(names);
  size_ = size;
  if (!facts_.interactive) names.emplace_back("control");
  return names;
}

void exec_streams::dismiss() {
  expect({});
  if (guest_) stand_up();
}

void exec_streams::let_go() {
  finished_ = true;
  ++seat_;
  watch_.reset();
  for (auto& pump : pumps_) pump->stop();
  pumps_.clear();
  session_.reset(); // without a word: what runs the command sees that nobody is there
}

/// Another, or the one of before a restart, takes the place of whoever sits here.
void exec_streams::sit_down() {
  ++seat_;
  for (auto& pump : std::exchange(pumps_, {})) pump->stop();
  for (auto& [name, socket] : std::exchange(open_, std::exchange(arriving_, {}))) socket->close();
  outputs_ = 0;
  guest_ = true;
  if (open_.count("control")) hear("control");
  hand_over(true, [self = shared_from_this(), seat = seat_](found_exec found) {
    if (seat != self->seat_) return;
    for (int i = 0; i < 3; ++i) self->ends_[std::to_string(i)] = std::move(found.ends[i]);
    auto control = self->open_.find("control");
    if (found.lost > 0 && control != self->open_.end())
      control->second->send_text(
          std::make_shared<const std::string>(nlohmann::json{{"command", "lost"}, {"bytes", found.lost}}.dump()));
    if (auto size = std::exchange(self->size_, {}); self->facts_.interactive && size.width > 0 && size.height > 0)
      static_cast<void>(self->session_->resize(size.width, size.height));
    self->start_pumps(std::move(found.output), std::move(found.error));
  });
}

/// Nobody sits here any more; the command goes on.
void exec_streams::stand_up() {
  ++seat_;
  for (auto& pump : std::exchange(pumps_, {})) pump->stop();
  for (auto& [name, socket] : std::exchange(open_, {})) socket->close(1001);
  ends_.clear();
  outputs_ = 0;
  hand_over(false, [](const found_exec&) {});
}

void exec_streams::left() { guest_ ? stand_up() : kill(); }

// ---- the command begins

outcome<void> exec_streams::make_pipes() {
  if (facts_.interactive) return {};
  for (int i = 0; i < 3; ++i) {
    if (plan_->stdio[i]) continue; // a recording
    if (facts_.output != exec_output::streams) {
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
  if (facts_.output != exec_output::recording) return {};
  instance_logs logs{with(), facts_.project, facts_.instance};
  for (auto stream : {1, 2}) {
    auto made = logs.record(recording_name(operation_, std::to_string(stream)));
    if (!made) return tl::unexpected{made.error()};
    plan_->stdio[stream] = std::move(*made);
  }
  plan_->record = instance_logs::recording_bytes_max;
  return {};
}

void exec_streams::start() {
  if (finished_) return; // cut before
  begun_ = true;
  if (auto made = make_recordings().and_then([this] { return make_pipes(); }); !made)
    return finish(false, made.error(), -1);
  outlive(*plan_, facts_, {ends_["0"].get(), ends_["1"].get(), ends_["2"].get()});
  plan_->unattended = facts_.interactive && facts_.output != exec_output::streams;
  ask_through<exec_session_ptr>(
      role::rest_door, with(), role::instances,
      [self = shared_from_this()](const outcome<exec_session_ptr>& session) {
        self->with().io.post([self, session] {
          if (session)
            self->begin(*session);
          else
            self->finish(false, session.error(), -1);
        });
      },
      to_instance{facts_.project, facts_.instance}, run_exec{head_, plan_});
}

void exec_streams::begin(exec_session_ptr session) {
  if (finished_ && leaving_) { // cut while it began
    static_cast<void>(session->signal(SIGKILL));
    session->forget();
  }
  if (finished_) return;
  session_ = std::move(session);
  if (facts_.output == exec_output::streams) start_pumps({}, {});
  watch();
  if (leaving_) kill(); // before there was anything to kill
}

void exec_streams::resume(exec_session_ptr session) {
  begun_ = true;
  session_ = std::move(session);
  if (facts_.output == exec_output::streams) expect(required_streams(facts_.interactive));
  watch();
}

// ---- while it runs

void exec_streams::hear(const std::string& name) {
  std::weak_ptr<exec_streams> weak = shared_from_this();
  auto& socket = open_[name];
  if (name == "control")
    socket->on_message([weak](const std::string& text, bool) {
      if (auto self = weak.lock()) self->on_control(text);
    });
  socket->on_close([weak, name, seat = seat_] {
    auto self = weak.lock();
    if (!self || self->seat_ != seat) return;
    bool goes = name == "control" || !self->open_.count("control");
    if (goes) return self->left();
    if (self->session_ && !self->status_) self->session_->close_end(name == "1" ? 1 : 2);
  });
}

void exec_streams::start_pumps(std::string output, std::string error) {
  if (facts_.interactive) return add_pump(0, fcntl(session_->pty(), F_DUPFD_CLOEXEC, 0), std::move(output));
  if (auto& input = ends_["0"]; input)
    pumps_.push_back(fd_pump::start(with().io, std::move(input), open_["0"], fd_pump::direction::from_socket,
                                    [self = shared_from_this(), seat = seat_](bool) {
                                      if (seat == self->seat_ && self->session_) self->session_->close_end(0);
                                    }));
  add_pump(1, ends_["1"].release(), std::move(output));
  add_pump(2, ends_["2"].release(), std::move(error));
}

/// One output; of a terminal the input, too.
void exec_streams::add_pump(int stream, int fd, std::string first) {
  if (fd < 0) return;
  auto name = std::to_string(stream);
  auto self = shared_from_this();
  ++outputs_;
  if (!facts_.interactive) hear(name);
  auto ways = facts_.interactive ? fd_pump::direction::both : fd_pump::direction::to_socket;
  auto pump = fd_pump::start(with().io, unique_fd{fd}, open_[name], ways, [self](bool from_fd) {
    if (from_fd) self->output_ended();
  });
  pumps_.push_back(pump);
  pump->watch_peer(facts_.interactive ? terminal_patience : pipe_patience, [self, seat = seat_](bool gone) {
    if (seat == self->seat_) self->peer_is_gone(gone);
  });
  if (!first.empty()) pump->go_on(std::move(first));
}

/// What a terminal says then is kept elsewhere, the last of it, until its user looks again. A pipe's reader has lost
/// his turn: bytes that are missing in the middle are worse than an end.
void exec_streams::peer_is_gone(bool gone) {
  if (!facts_.interactive) return stand_up();
  if (gone) return hand_over(false, [](const found_exec&) {});
  hand_over(true, [self = shared_from_this(), seat = seat_](found_exec found) {
    if (seat == self->seat_ && !self->pumps_.empty()) self->pumps_.front()->go_on(std::move(found.output));
  });
}

void exec_streams::on_control(const std::string& text) {
  if (!session_) return;
  if (auto size = window_size_in(text)) return static_cast<void>(session_->resize(size->first, size->second));
  auto json = parse_json_text(text);
  if (!json || !json->is_object() || json->value("command", nlohmann::json{}) != "signal") return;
  if (auto number = json->find("signal"); number != json->end() && number->is_number_integer())
    static_cast<void>(session_->signal(number->get<int>()));
}

void exec_streams::kill() {
  leaving_ = true;
  if (session_ && !status_) static_cast<void>(session_->signal(SIGKILL));
}

void exec_streams::watch() {
  watch_ = with().io.watch_readable(session_->done_fd(), [self = shared_from_this()] { self->command_ended(); });
}

/// What runs the command reads its output from now on, or leaves it to us. One after the other; of those that wait only
/// the last matters.
void exec_streams::hand_over(bool attend, std::function<void(found_exec)> then) {
  if (finished_ || status_) return;
  auto self = shared_from_this();
  if (moving_) {
    queued_ = [self, attend, then = std::move(then)] { self->hand_over(attend, then); };
    return;
  }
  moving_ = true;
  watch_.reset(); // its end is told again to whoever comes next
  auto work = [self, attend, then] {
    auto found = std::make_shared<outcome<found_exec>>(self->with().containers.find_exec(self->operation_, attend));
    self->with().io.post([self, found, attend, then] { self->handed_over(std::move(*found), then); });
  };
  if (with().blocking.submit(work)) return;
  moving_ = false;
  context_.streams.after(retry_pause, [self, attend, then] { self->hand_over(attend, then); });
}

void exec_streams::handed_over(outcome<found_exec> found, const std::function<void(found_exec)>& then) {
  moving_ = false;
  if (finished_) return;
  if (!found) return finish(false, found.error(), -1);
  session_ = std::move(found->session);
  watch();
  if (leaving_) kill();
  auto next = std::exchange(queued_, nullptr);
  then(std::move(*found));
  if (next) next();
}

// ---- the end

void exec_streams::command_ended() {
  watch_.reset();
  auto result = session_->result();
  if (!result) log().warn("Exec {}: {}", operation_, result.error().message);
  status_ = result ? *result : -1;
  for (auto& pump : std::vector{pumps_}) pump->drain_and_stop();
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
  ++seat_;
  if (auto control = open_.find("control"); control != open_.end()) control->second->close();
  for (auto* sockets : {&open_, &arriving_})
    for (auto& [name, socket] : *sockets)
      if (name != "control" || sockets == &arriving_) socket->close();
  finish_live end{operation_, succeeded, std::move(why), {{"return", std::to_string(status)}}};
  if (facts_.output == exec_output::recording && session_) {
    nlohmann::json urls;
    for (auto stream : {"1", "2"})
      urls[stream] = "/1.0/instances/" + facts_.instance + "/logs/exec-output/" + recording_name(operation_, stream);
    end.metadata.emplace_back("output", urls.dump());
  }
  record_end(std::move(end));
  context_.streams.close(operation_);
  pumps_.clear();
  open_.clear();
  arriving_.clear();
}

/// What runs the command keeps its result until the operation's end is on disk: a daemon that is killed in between is
/// told again.
void exec_streams::record_end(finish_live end) {
  auto self = shared_from_this();
  caf::anon_send(with().find(role::operations), end);
  ask_through<operation_record>(
      role::rest_door, with(), role::operations,
      [self, end](const outcome<operation_record>& ended) {
        bool again = !ended && ended.error().code != fault::not_found; // that part of the daemon is being restarted
        if (again) self->context_.streams.after(retry_pause, [self, end] { self->record_end(end); });
        if (!again && self->session_) self->session_->forget();
      },
      await_operation{operation_});
}

} // namespace troupe
