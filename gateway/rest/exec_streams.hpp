#pragma once

#include "gateway/exec_request.hpp"
#include "gateway/rest/live_streams.hpp"

#include <set>

namespace troupe {

/// One exec: waits for its websockets, has the instance run the command, moves the bytes, reports the end. The command
/// outlives the daemon, and is found again. Whoever sits at it may be replaced by another, or be gone: then what runs
/// the command reads its output, so that it never waits for nobody. Who began it and leaves takes it along, as LXD has
/// it; who came later does not. Everything but the constructor happens on the loop's thread.
class exec_streams : public stream_set, public std::enable_shared_from_this<exec_streams> {
public:
  /// Plan and head: of one that is yet to be started.
  exec_streams(rest_context& context, exec_facts facts, std::shared_ptr<exec_plan> plan,
               std::shared_ptr<const header> head);

  void expect(const std::vector<std::string>& required);
  void connected(const std::string& name, std::shared_ptr<websocket> socket) override;
  void abandoned() override;
  void cut() override;
  outcome<std::vector<std::string>> offer_seat(window_size size) override;
  void dismiss() override;
  void let_go() override;
  /// Runs the command now (without websockets: nobody will connect).
  void start();
  /// Goes on with one that runs; nobody sits at it.
  void resume(exec_session_ptr session);

  /// How long one who takes nothing at all is waited for. A terminal's user sees the newest when he looks again; a pipe
  /// promises every byte, and so is worth more patience, but no container waits for ever.
  static constexpr std::chrono::seconds terminal_patience{10}, pipe_patience{300};

private:
  void begin(exec_session_ptr session);
  void sit_down();
  void start_pumps(std::string output, std::string error);
  void add_pump(int stream, int fd, std::string first);
  void hear(const std::string& name);
  void on_control(const std::string& text);
  void left();
  void stand_up();
  void peer_is_gone(bool gone);
  void hand_over(bool attend, std::function<void(found_exec)> then);
  void handed_over(outcome<found_exec> found, const std::function<void(found_exec)>& then);
  void watch();
  void command_ended();
  void output_ended();
  void kill();
  void finish(bool succeeded, error why, int status);
  void record_end(finish_live end);
  outcome<void> make_pipes();
  outcome<void> make_recordings();
  services& with() const { return context_.with; }

  rest_context& context_;
  exec_facts facts_;
  std::string operation_;
  std::shared_ptr<exec_plan> plan_;
  std::shared_ptr<const header> head_;
  std::set<std::string> missing_;
  std::map<std::string, std::shared_ptr<websocket>> arriving_, open_;
  uint64_t seat_ = 0;                     // counts who sits here: what the one before does no longer matters
  bool guest_ = false;                    // who sits here did not begin it
  window_size size_;                      // of who comes next
  std::map<std::string, unique_fd> ends_; // our ends of the pipes
  std::vector<std::shared_ptr<fd_pump>> pumps_;
  exec_session_ptr session_;
  loop::handle_ptr watch_;
  std::function<void()> queued_; // to be done when what runs the command has been handed over
  int outputs_ = 0;              // streams that still have something to send
  std::optional<int> status_;
  bool begun_ = false;
  bool moving_ = false;  // a hand-over is under way
  bool leaving_ = false; // the client has gone, or is not trusted any more: the command is to end
  bool finished_ = false;
};

/// Goes on with the commands that have outlived the daemon before, and ends the operations of those that have not.
/// Blocks until it has heard of all.
void adopt_execs(rest_context& context);

} // namespace troupe
