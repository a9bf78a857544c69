#pragma once

#include "actors/instance.hpp"
#include "gateway/rest/live_streams.hpp"
#include "gateway/rest/output_recorder.hpp"

#include <set>

namespace troupe {

/// One exec: waits for its websockets, has the instance run the command, moves the bytes, reports the end.
/// Everything but the constructor happens on the loop's thread.
class exec_streams : public stream_set, public std::enable_shared_from_this<exec_streams> {
public:
  /// Where the output of a command goes.
  enum class output : uint8_t { websockets, nowhere, recording };
  exec_streams(rest_request from, std::string operation, std::shared_ptr<exec_plan> plan, output to);

  void expect(const std::vector<std::string>& required);
  void connected(const std::string& name, std::shared_ptr<websocket> socket) override;
  void abandoned() override;
  void cut() override;
  /// Runs the command now (without websockets: nobody will connect).
  void start();

private:
  void started(exec_session_ptr session);
  void on_control(const std::string& text);
  void command_ended();
  void output_ended();
  void kill();
  void finish(bool succeeded, error why, int status);
  outcome<void> make_pipes();
  outcome<void> make_recordings();

  rest_request from_;
  std::string operation_;
  std::shared_ptr<exec_plan> plan_;
  output output_;
  bool sockets_, interactive_;
  std::set<std::string> missing_;
  std::map<std::string, std::shared_ptr<websocket>> open_;
  std::map<std::string, unique_fd> ends_; // our ends of the pipes
  std::map<std::string, unique_fd> recordings_;
  std::vector<std::shared_ptr<fd_pump>> pumps_;
  std::vector<std::shared_ptr<output_recorder>> recorders_;
  exec_session_ptr session_;
  loop::handle_ptr watch_;
  int outputs_ = 0; // streams that still have something to send
  std::optional<int> status_;
  bool leaving_ = false; // the client has gone, or is not trusted any more: the command is to end
  bool finished_ = false;
};

} // namespace troupe
