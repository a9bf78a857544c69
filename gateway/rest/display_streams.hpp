#pragma once

#include "gateway/rest/live_streams.hpp"

#include <set>

namespace troupe {

/// Somebody at a virtual machine's screen: stream 0 may be connected many times, each is a connection of its own to
/// the screen (SPICE wants one for each of its channels); it all ends with the stream "control". Everything but the
/// constructor happens on the loop's thread.
class display_streams : public stream_set, public std::enable_shared_from_this<display_streams> {
public:
  /// `protocol`: "spice" or "vnc".
  display_streams(rest_request from, std::string operation, std::string protocol);

  void connected(const std::string& name, std::shared_ptr<websocket> socket) override;
  bool stays_open(const std::string& name) const override { return name == "0"; }
  void abandoned() override;
  void cut() override;

private:
  void show(std::shared_ptr<websocket> socket, outcome<unique_fd> screen);
  void finish(const outcome<void>& how);

  rest_request from_;
  std::string operation_, protocol_;
  std::shared_ptr<websocket> control_;
  std::set<std::shared_ptr<websocket>> viewers_;
  std::set<std::shared_ptr<fd_pump>> pumps_;
  bool finished_ = false;
};

} // namespace troupe
