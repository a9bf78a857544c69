#pragma once

#include "messages/error.hpp"
#include "messages/event.capnp.h"
#include "messages/message.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Every table of both environments. `scope` says where it lives: cluster.mdb is what a cluster replicates (specs,
/// config), local.mdb is this member's own (status, events, operations, journal). One row per table in tables.cpp.
enum class table : uint8_t {
  // cluster.mdb
  instances,
  profiles,
  images,
  aliases,
  pools,
  volumes,        // what pools keep of images
  custom_volumes, // PROJECT/POOL/NAME
  networks,
  projects,
  config,
  counters,
  sinks,
  certificates,
  snapshots,
  identities,
  auth_groups,
  identity_provider_groups,
  // local.mdb
  statuses,
  operations,
  operation_entities, // entity \0 operation -> nothing: the history of an entity
  operation_requests, // principal, project and request id -> digest and operation: idempotent submit
  journal,
  history,
  events,
  members,
  sink_statuses,
  dead_letters,
  subscriptions,
  warnings,
  meta,
};

struct write {
  table where;
  std::string key;
  std::optional<std::string> value; // nullopt: delete; deleting what is absent is fine
};

/// Must hold for the batch to be applied: the record's bytes are exactly these (nullopt: absent).
struct condition {
  table where;
  std::string key;
  std::optional<std::string> value;
};

/// Keys are 1 to 511 bytes. `events`, `history` and the keys of `meta` that begin with "store/" are the
/// store's own: a batch that writes them is fault::invalid.
///
/// One atomic change and the events that tell of it. Sequence number, epoch, member and (if 0) time of the events are
/// filled in by the store.
struct batch {
  std::vector<condition> conditions;
  std::vector<write> writes;
  std::vector<message<schema::Event>> events;
};

struct committed {
  uint64_t index = 0;                         // grows by one with every commit
  std::vector<message<schema::Event>> events; // as stored, with their numbers
};

/// A view of everything at one commit. Cheap (LMDB readers never wait); short-lived: one request, one snapshot; it must
/// die before the store, and the writer's thread must not hold one while it commits (a map that has to move waits for
/// all readers). Use from one thread. Values are valid until it dies and are not aligned: copy with
/// message::from_bytes. Throws std::runtime_error when the file cannot be read: "absent" would be a lie.
class snapshot {
public:
  std::optional<std::string_view> get(table where, std::string_view key) const;
  /// Calls `visit(key, value)` in key order for keys with this prefix, until it returns false.
  void scan(table where, std::string_view prefix,
            const std::function<bool(std::string_view, std::string_view)>& visit) const;
  /// The same, from the first key >= `from` on.
  void scan_from(table where, std::string_view from,
                 const std::function<bool(std::string_view, std::string_view)>& visit) const;

  /// Number of the last event of this view; 0: none yet.
  uint64_t last_seq() const;

  snapshot(snapshot&&) noexcept;
  ~snapshot();

private:
  friend class store;
  struct data;
  explicit snapshot(std::unique_ptr<data> d);
  std::unique_ptr<data> data_;
};

struct format_history; // migrations.hpp

struct store_options {
  size_t map_bytes = size_t{4} << 30;               // of each map at first: address space only; doubled when full
  const format_history* formats = nullptr;          // null: this daemon's own
  std::chrono::milliseconds checkpoint_after{1000}; // the first commit that is in the log only
};

/// The database of a daemon: two LMDB environments and the write-ahead log before them. `commit` and `trim_events` are
/// for the single writer (the store actor's thread); `read` for all.
class store {
public:
  /// Opens or creates DIR/database/{cluster,local}.mdb. Refuses a newer format (fault::newer_format) touching nothing;
  /// migrates an older one. Goes on where the log ends. `member` names the event log's owner. fault::busy while another
  /// process has it open; fault::corrupt for files that are damaged or do not belong together, touching nothing.
  static outcome<std::unique_ptr<store>> open(const std::string& directory, const std::string& member,
                                              const store_options& options = {});
  ~store();

  snapshot read() const;

  /// Group commit: applies the batches in order, all with one synced write to the log; a batch whose condition does not
  /// hold is left out (fault::precondition) and does not disturb the others. A failed write or a full disk fails all of
  /// them and changes nothing. (Only if the disk then refuses the log's repair too, and the daemon ends before it takes
  /// it, may the next start find the failed change done.) LMDB follows in the background; on a full disk the log takes
  /// commits until it is full itself.
  std::vector<outcome<committed>> commit(std::span<const batch> batches);

  /// Brings LMDB up to date now instead of in a moment. Any thread that holds no snapshot.
  outcome<void> checkpoint();

  uint32_t epoch() const;
  uint64_t last_seq() const;
  /// First sequence number still kept; events before it were removed by retention.
  uint64_t first_seq() const;
  /// Removes events older than `before` (ns) or beyond `keep_max` entries, about `count_max` at most so that the writer
  /// is not kept from its work for long. True: there is more to remove.
  outcome<bool> trim_events(int64_t before, uint64_t keep_max, uint64_t count_max = UINT64_MAX);

private:
  struct data;
  explicit store(std::unique_ptr<data> d);
  std::unique_ptr<data> data_;
};

/// Big-endian key of an event, so that key order is number order.
std::string event_key(uint64_t seq);

/// `history` has, for each event of a kind, the key history_prefix + event_key and no value: a prefix scan gives an
/// entity's events in order.
std::string history_prefix(std::string_view kind, std::string_view project, std::string_view entity);
/// The number at the end of a key of `events` or `history`.
uint64_t event_seq(std::string_view key);

} // namespace troupe
