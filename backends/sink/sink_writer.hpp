#pragma once

#include "messages/config_map.hpp"
#include "messages/error.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>

namespace troupe {

/// One event on its way out.
struct sink_record {
  std::string id;      // its cursor "epoch:member:seq": what a receiver knows a repetition by
  std::string source;  // the member's name
  std::string type;    // "lifecycle.instance.started"
  std::string subject; // "default.instance.c1.started"
  std::string time;    // RFC 3339
  std::string data;    // a JSON object
};

/// How far a call of `write` came. The records before `accepted` are the receiver's; it is safe to forget them.
struct sink_progress {
  size_t accepted = 0;
  std::optional<error> failure = {}; // why it stopped there; the rest is to be written again
  bool refused = false;              // the failure is about the record at `accepted`, not about the way to the receiver
};

/// Writes to one receiver. One thread at a time, which may be blocked for about the sink's time-out; `stop` may come
/// from any thread. Nothing is opened before the first write, and a failure leaves nothing that a later write would
/// stumble over.
class sink_writer {
public:
  virtual ~sink_writer() = default;

  /// In order; stops at the first record that the receiver does not take. A record may arrive more than once, never out
  /// of order, never without those before it.
  virtual sink_progress write(std::span<const sink_record> records) = 0;
  /// Makes a running `write` return soon, with fault::cancelled, and all later ones at once.
  virtual void stop() = 0;
};

/// `config` as check_sink_config has passed it; `directory` is where file sinks live.
std::unique_ptr<sink_writer> make_sink_writer(std::string_view type, const std::string& name,
                                              const std::string& directory, const config_map& config);

} // namespace troupe
