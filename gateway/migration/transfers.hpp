#pragma once

#include "gateway/migration/transfer.hpp"

#include <atomic>
#include <map>

namespace troupe {

/// The migrations under way in this daemon, by operation. Thread-safe.
class transfers {
public:
  explicit transfers(services& with);
  ~transfers();
  void stop(); // ends all; nothing begins any more

  /// The streams that the operation's step will use. False: it has some already (a repeated request).
  bool offer(const std::string& operation, std::shared_ptr<transfer_link> by);
  /// Sends on a blocking thread, and ends the operation.
  void send(const std::string& operation, std::shared_ptr<transfer_link> to, outgoing what);
  void cancel(const std::string& operation);
  void forget(const std::string& operation); // with its streams

  /// Steps of the receiving saga, on the pool that they name; they block.
  outcome<step_result> receive(const step_act& act, storage_driver& driver);
  outcome<void> undo(const step_undo& undo, storage_driver& driver);
  outcome<void> settle(const step_act& act, storage_driver& driver);

private:
  class place; // among those that may run at once
  std::shared_ptr<void> enter();
  std::shared_ptr<transfer_link> await_link(const std::string& operation);
  std::shared_ptr<transfer_link> find(const std::string& operation);
  transfer_progress report_to(const std::string& operation) const;
  outcome<void> send_now(const std::string& operation, transfer_link& to, const outgoing& what);

  services& with_;
  const std::string rsync_;
  websocket_dialer dialer_;
  std::mutex lock_; // guards all below
  std::condition_variable offered_, left_;
  std::map<std::string, std::shared_ptr<transfer_link>> links_;
  size_t running_ = 0, inside_ = 0; // transfers; calls under way, which we outlive
  bool stopped_ = false;
};

} // namespace troupe
