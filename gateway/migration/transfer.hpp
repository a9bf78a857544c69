#pragma once

#include "actors/pools.hpp"
#include "gateway/migration/rsync_session.hpp"
#include "gateway/migration/transfer_link.hpp"
#include "gateway/migration/wire.hpp"

namespace troupe {

/// One part of a transfer as its operation tells of it: "c1: 25.3MB (12.1MB/s)".
using transfer_progress = std::function<void(const std::string& part, uint64_t bytes)>;

/// What a source sends, all of it found before the first byte.
struct outgoing {
  driver_ptr driver;
  std::string name; // of the instance
  volume_id volume;
  std::vector<std::pair<offered_snapshot, volume_id>> snapshots; // oldest first
  bool may_change = false;                                       // files may go while they are read
};

/// A driver object of that pool; fault::not_found.
outcome<driver_ptr> driver_of_pool(const services& with, const std::string& pool);

/// Both block until the transfer is over, as far as the data goes. `rsync`: the helper's path.
outcome<void> send_instance(transfer_link& to, const outgoing& what, const std::string& rsync,
                            const transfer_progress& progress);

/// What a target has received.
struct received {
  std::vector<snapshot_record> snapshots;
  std::vector<offered_snapshot> offers;
};
/// Receives the volumes of that step (actors/instance_receive.hpp). The sender is not told of the success yet.
outcome<received> receive_instance(transfer_link& from, store& db, storage_driver& driver, const saga_step& step,
                                   const std::string& rsync, const transfer_progress& progress);
/// Destroys what that step has received.
outcome<void> undo_receiving(storage_driver& driver, const saga_step& step);

} // namespace troupe
