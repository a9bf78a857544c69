#include "persist/open.hpp"

#include "persist/keys.hpp"
#include "persist/migrations.hpp"
#include "persist/probe.hpp"

#include <cerrno>
#include <fcntl.h>
#include <filesystem>
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

/// The epoch of an event log that starts now. It is in cluster.mdb before the log exists, so that the next one, should
/// local.mdb be lost, is surely later.
uint32_t begin_epoch(store_state& state) {
  uint64_t epoch = 0;
  std::string key = epoch_key_of(state.member);
  with_recovery([&] {
    write_txn txn{*state.cluster};
    auto used = txn.get(table::meta, key);
    epoch = (used ? decode_number(*used) : 0) + 1;
    txn.put(table::meta, key, encode_number(epoch));
    txn.commit();
  });
  with_recovery([&] {
    write_txn txn{*state.local};
    txn.put(table::meta, epoch_key, encode_number(epoch));
    txn.commit();
  });
  return static_cast<uint32_t>(epoch);
}

outcome<void> settle(store_state& state) {
  return guarded([&] {
    std::optional<uint64_t> epoch;
    {
      read_txn txn{*state.local};
      if (auto stored = txn.get(table::meta, epoch_key)) epoch = decode_number(*stored);
    }
    state.epoch = epoch ? static_cast<uint32_t>(*epoch) : begin_epoch(state);
    state.load();
    state.drain();
    state.load();
    // What a killed process committed lazily may still be in memory only, and its outbox entries go with the next
    // commit.
    if (!state.local->sync()) state.durable_index = 0;
  });
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
  if (::fsync(state.lock.get()) != 0) return fail_errno(errno, "Cannot sync " + folder);

  // The outbox was written by the old format's daemon and means the old format's tables.
  ok = settle(state);
  if (ok) ok = migrate(*state.cluster, formats.cluster, formats.cluster_steps);
  if (ok) ok = migrate(*state.local, formats.local, formats.local_steps);
  return ok;
}

} // namespace troupe
