#include "persist/open.hpp"

#include "persist/keys.hpp"
#include "persist/log_record.hpp"
#include "persist/migrations.hpp"
#include "persist/probe.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

/// The folder, made if it is missing, private and locked: two daemons in one would write over each other's numbers.
outcome<unique_fd> claim_folder(const std::string& path) {
  std::error_code made;
  std::filesystem::create_directories(std::filesystem::path{path}.parent_path(), made);
  if (made) return fail_errno(made.value(), "Cannot create the folder of " + path);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno(errno, "Cannot create " + path);
  unique_fd folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
  if (!folder) return fail_errno(errno, "Cannot open " + path);
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(fault::busy, "Another daemon uses the database in " + path);
    return fail_errno(errno, "Cannot lock " + path);
  }
  if (::fchmod(folder.get(), 0700) != 0) return fail_errno(errno, "Cannot make " + path + " private");
  return folder;
}

uint64_t number_at(environment& env, std::string_view key) {
  read_txn txn{env};
  auto stored = txn.get(table::meta, key);
  return stored ? decode_number(*stored) : 0;
}

void put_numbers(environment& env, std::initializer_list<std::pair<std::string_view, std::string>> records) {
  with_recovery([&] {
    write_txn txn{env};
    for (const auto& [key, value] : records) txn.put(table::meta, key, value);
    txn.commit();
  });
}

/// What ties the log to this database.
uint64_t identify(environment& cluster) {
  uint64_t identity = number_at(cluster, identity_key);
  if (identity != 0) return identity;
  std::random_device dice;
  identity = (uint64_t{dice()} << 32 | dice()) | 1;
  put_numbers(cluster, {{identity_key, encode_number(identity)}});
  return identity;
}

/// The newest of what the log has beyond an index; `where` null: of both environments.
void replay(version& onto, const std::vector<logged>& found, std::optional<scope> where = {}) {
  for (const logged& one : found) {
    log_record record = decode_record(one.bytes);
    for (write& w : record.writes)
      if (!where || row_of(w.where).where == *where)
        onto.recent.put(w.where, {std::move(w.key), std::move(w.value), one.last}, 0);
    onto.index = one.last;
    onto.last_seq = record.last_seq;
  }
}

/// A new local.mdb, beside a cluster.mdb that may be older. The epoch of its event log is in cluster.mdb before the log
/// exists, so that the next one, should this local.mdb be lost, is surely later. Of what the write-ahead log has only
/// the cluster's side can be repeated: the rest belonged to what was lost.
void begin_epoch(store_state& state) {
  version last;
  last.index = number_at(*state.cluster, index_key);
  auto found = state.log.take_found(last.index);
  replay(last, found, scope::cluster);
  if (!found.empty()) state.write_part(scope::cluster, last);

  std::string key = epoch_key_of(state.member);
  std::string epoch = encode_number(number_at(*state.cluster, key) + 1);
  put_numbers(*state.cluster, {{key, epoch}});
  put_numbers(*state.local, {{epoch_key, epoch}, {position_key, encode_number(last.index) + encode_number(0)}});
}

outcome<void> check_gapless(const std::vector<logged>& found, uint64_t after, const std::string& folder) {
  for (const logged& record : found) {
    if (record.first != after + 1)
      return fail(fault::corrupt, "The log in " + folder + " is damaged: the commits from " +
                                      std::to_string(after + 1) + " to " + std::to_string(record.first - 1) +
                                      " are missing");
    after = record.last;
  }
  return {};
}

uint64_t first_event(const store_state& state, const version& last) {
  uint64_t first = last.last_seq + 1;
  auto see = [&first](std::string_view key) {
    first = std::min(first, event_seq(key));
    return false;
  };
  read_txn{*state.local}.scan(table::events, {}, [&](std::string_view key, std::string_view) { return see(key); });
  last.recent.scan(table::events, {}, [&](const memtable::entry& e) { return see(e.key); });
  return first;
}

/// Brings what the log has beyond LMDB on top of it.
outcome<void> settle(store_state& state, const std::string& folder) {
  outcome<void> result;
  auto done = guarded([&] {
    auto log = write_ahead_log::open(folder, identify(*state.cluster));
    if (!log) {
      result = tl::unexpected{log.error()};
      return;
    }
    state.log = std::move(*log);
    if (number_at(*state.local, epoch_key) == 0) begin_epoch(state);
    state.epoch = static_cast<uint32_t>(number_at(*state.local, epoch_key));

    version last;
    std::string position{*read_txn{*state.local}.get(table::meta, position_key)};
    last.index = last.checkpointed = decode_number(position);
    last.last_seq = decode_number(std::string_view{position}.substr(8));
    auto found = state.log.take_found(last.index);
    result = check_gapless(found, last.index, folder);
    if (!result) return;
    replay(last, found);
    state.first_seq = first_event(state, last);
    state.current = std::make_shared<const version>(std::move(last));
  });
  return done ? result : done;
}

} // namespace

outcome<void> open_state(store_state& state, const std::string& directory, const std::string& member,
                         const store_options& options) {
  const format_history& formats = options.formats ? *options.formats : built_in_formats();
  std::string folder = directory + "/database";
  auto claimed = claim_folder(folder);
  if (!claimed) return tl::unexpected{claimed.error()};
  state.lock = std::move(*claimed);
  state.member = member;

  std::string cluster_path = folder + "/cluster.mdb", local_path = folder + "/local.mdb";
  auto cluster_format = probe_format(cluster_path);
  if (!cluster_format) return tl::unexpected{cluster_format.error()};
  auto local_format = probe_format(local_path);
  if (!local_format) return tl::unexpected{local_format.error()};
  if (*local_format && !*cluster_format)
    return fail(fault::corrupt, "The database " + cluster_path + " is missing, but there is a local.mdb beside it");
  outcome<void> ok;
  if (*cluster_format) ok = check_format(cluster_path, **cluster_format, formats.cluster, formats.cluster_steps);
  if (ok && *local_format) ok = check_format(local_path, **local_format, formats.local, formats.local_steps);
  if (!ok) return ok;

  auto cluster = environment::open(cluster_path, scope::cluster, options.map_bytes, formats.cluster);
  if (!cluster) return tl::unexpected{cluster.error()};
  state.cluster = std::move(*cluster);
  auto local = environment::open(local_path, scope::local, options.map_bytes, formats.local);
  if (!local) return tl::unexpected{local.error()};
  state.local = std::move(*local);

  // The log was written by the old format's daemon and means the old format's tables: it goes into LMDB first.
  ok = settle(state, folder);
  bool migrates =
      (*cluster_format && **cluster_format != formats.cluster) || (*local_format && **local_format != formats.local);
  if (ok && migrates) ok = state.checkpoint();
  if (ok) ok = migrate(*state.cluster, formats.cluster, formats.cluster_steps);
  if (ok) ok = migrate(*state.local, formats.local, formats.local_steps);
  if (ok && ::fsync(state.lock.get()) != 0) return fail_errno(errno, "Cannot sync " + folder);
  return ok;
}

} // namespace troupe
