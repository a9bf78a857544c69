#pragma once

#include "gateway/migration/message_channel.hpp"
#include "gateway/migration/websocket_dial.hpp"
#include "gateway/rest/live_streams.hpp"

#include <condition_variable>
#include <optional>

namespace troupe {

/// The two streams of one migration, however they come about: the other server connects to us, or we to it.
/// Thread-safe.
class transfer_link final : public stream_set, public std::enable_shared_from_this<transfer_link> {
public:
  struct remote {
    remote_operation where;
    std::string control, data; // secrets
  };
  explicit transfer_link(std::optional<remote> to) : to_{std::move(to)} {}

  /// Blocks until both are there: 10 seconds at most.
  outcome<void> connect(websocket_dialer& dialer);
  /// Only after `connect`.
  message_channel& control() { return *control_; }
  message_channel& data() { return *data_; }

  /// Our last word on the control stream, if that is there.
  void accept();
  void refuse(const error& why);
  /// Ends it; the first reason given stays.
  void end(error why);
  /// Lets go of the streams once what was sent has gone.
  void close();
  /// Once, when it ends; now, if it has.
  void on_end(std::function<void()> call);
  /// Why a failed transfer failed: what ended it, what the other side has said of it, or `what`.
  error explain(error what);

  void connected(const std::string& name, std::shared_ptr<websocket> socket) override;
  void abandoned() override;
  void cut() override;

private:
  const std::optional<remote> to_;
  std::mutex lock_; // guards all below
  std::condition_variable changed_;
  std::shared_ptr<message_channel> control_, data_;
  std::optional<error> why_;
  std::function<void()> on_end_;
};

} // namespace troupe
