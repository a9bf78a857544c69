#pragma once

#include "actors/instance.hpp"
#include "gateway/rest/live_streams.hpp"

namespace troupe {

/// Somebody at an instance's console: begins when stream 0 is connected, ends when either side closes. Everything but
/// the constructor happens on the loop's thread.
class console_streams : public stream_set, public std::enable_shared_from_this<console_streams> {
public:
  console_streams(rest_request from, std::string operation, uint16_t width, uint16_t height);

  void connected(const std::string& name, std::shared_ptr<websocket> socket) override;
  void abandoned() override;
  void cut() override;

private:
  void start();
  void started(exec_session_ptr session);
  void on_control(const std::string& text);
  void ended();
  void leave();
  void finish(const outcome<void>& how);

  rest_request from_;
  std::string operation_;
  std::shared_ptr<exec_plan> plan_ = std::make_shared<exec_plan>();
  std::map<std::string, std::shared_ptr<websocket>> open_;
  exec_session_ptr session_;
  std::shared_ptr<fd_pump> pump_;
  loop::handle_ptr watch_;
  bool leaving_ = false; // the client has gone: what liblxc says of the end is no error
  bool finished_ = false;
};

} // namespace troupe
