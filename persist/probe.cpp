#include "persist/probe.hpp"

#include "persist/keys.hpp"

#include <cerrno>
#include <lmdb.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

using env_ptr = std::unique_ptr<MDB_env, decltype(&mdb_env_close)>;
using txn_ptr = std::unique_ptr<MDB_txn, decltype(&mdb_txn_abort)>;

constexpr MDB_dbi free_list = 0; // LMDB's own table of unused pages: transaction -> count, page numbers

tl::unexpected<error> damaged(const std::string& path, const std::string& why) {
  return fail(fault::corrupt, "The database " + path + " is damaged: " + why);
}

/// The pages from `first` on that are in use, or an LMDB error below zero.
int64_t count_used(MDB_txn* txn, size_t first, size_t last) {
  MDB_cursor* cursor = nullptr;
  if (int code = mdb_cursor_open(txn, free_list, &cursor)) return code;
  std::set<size_t> used;
  for (size_t page = first; page <= last; ++page) used.insert(page);
  MDB_val key{}, value{};
  int code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
  for (; code == MDB_SUCCESS; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
    const auto* pages = static_cast<const size_t*>(value.mv_data);
    for (size_t i = 1; i <= pages[0] && (i + 1) * sizeof *pages <= value.mv_size; ++i) used.erase(pages[i]);
  }
  mdb_cursor_close(cursor);
  return code == MDB_NOTFOUND ? static_cast<int64_t>(used.size()) : code;
}

/// LMDB leaves pages at the end unwritten if it has no use for them, so a whole file may be shorter than it says. A cut
/// one would kill the process (SIGBUS) at the first touch of a missing page.
outcome<void> check_length(const std::string& path, MDB_env* env, uint64_t size) {
  MDB_envinfo info{};
  MDB_stat stat{};
  mdb_env_info(env, &info);
  mdb_env_stat(env, &stat);
  uint64_t full = (info.me_last_pgno + 1) * uint64_t{stat.ms_psize};
  if (size >= full) return {};
  if (::truncate(path.c_str(), static_cast<off_t>(full)) != 0) return fail_errno(errno, "Cannot extend " + path);
  MDB_txn* begun = nullptr;
  int code = mdb_txn_begin(env, nullptr, MDB_RDONLY, &begun);
  txn_ptr txn{begun, &mdb_txn_abort};
  int64_t used = code ? code : count_used(begun, (size + stat.ms_psize - 1) / stat.ms_psize, info.me_last_pgno);
  if (used == 0) return {};
  txn.reset();
  if (::truncate(path.c_str(), static_cast<off_t>(size)) != 0) return fail_errno(errno, "Cannot cut " + path);
  return damaged(path, "its end is missing");
}

outcome<std::optional<uint32_t>> read_format(const std::string& path, MDB_env* env) {
  MDB_txn* begun = nullptr;
  if (int code = mdb_txn_begin(env, nullptr, MDB_RDONLY, &begun)) return damaged(path, mdb_strerror(code));
  txn_ptr txn{begun, &mdb_txn_abort};
  MDB_stat stat{};
  mdb_env_stat(env, &stat);
  if (stat.ms_entries == 0) return std::nullopt;
  MDB_dbi meta{};
  MDB_val key{format_key.size(), const_cast<char*>(format_key.data())}, value{};
  int code = mdb_dbi_open(begun, "meta", 0, &meta);
  if (code == MDB_SUCCESS) code = mdb_get(begun, meta, &key, &value);
  if (code != MDB_SUCCESS) return damaged(path, "it has no format number");
  return static_cast<uint32_t>(decode_number({static_cast<const char*>(value.mv_data), value.mv_size}));
}

} // namespace

outcome<std::optional<uint32_t>> probe_format(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return fail_errno(errno, "Cannot read " + path);
  }
  if (!S_ISREG(st.st_mode)) return damaged(path, "it is not a file");
  if (st.st_size == 0) return std::nullopt;
  MDB_env* created = nullptr;
  if (mdb_env_create(&created)) return fail(fault::backend_failed, "Out of memory");
  env_ptr env{created, &mdb_env_close};
  mdb_env_set_maxdbs(created, 1);
  int code = mdb_env_open(created, path.c_str(), MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600);
  if (code == MDB_VERSION_MISMATCH)
    return fail(fault::newer_format, "The database " + path + " is in a format of another LMDB");
  if (code > 0 && code != EINVAL && code != ENOMEM) return fail_errno(code, "Cannot open " + path);
  if (code != MDB_SUCCESS) return damaged(path, mdb_strerror(code));
  if (auto whole = check_length(path, created, static_cast<uint64_t>(st.st_size)); !whole)
    return tl::unexpected{whole.error()};
  return read_format(path, created);
}

} // namespace troupe
