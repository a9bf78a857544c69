#include "persist/environment.hpp"

#include "persist/keys.hpp"
#include "persist/transaction.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>

namespace troupe {
namespace {

constexpr unsigned readers_max = 1024;
constexpr unsigned tables_max = 64;
constexpr size_t map_bytes_max = size_t{1} << 44;
constexpr size_t full_disk_bytes = size_t{1} << 20;

/// Where a file is mapped; LMDB does not tell.
std::span<std::byte> find_mapping(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return {};
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0, inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu", &begin, &end, &inode) == 3 && inode == st.st_ino)
      return {reinterpret_cast<std::byte*>(begin), end - begin};
  }
  return {};
}

} // namespace

environment::environment(std::string path, scope where, size_t map_bytes)
    : path_{std::move(path)}, where_{where}, map_bytes_{map_bytes} {}

environment::~environment() { close_file(); }

outcome<std::unique_ptr<environment>> environment::open(std::string path, scope where, size_t map_bytes,
                                                        uint32_t format) {
  std::unique_ptr<environment> env{new environment{std::move(path), where, map_bytes}};
  struct stat st {};
  bool is_new = ::stat(env->path_.c_str(), &st) != 0 || st.st_size == 0;
  for (;;) {
    int code = env->open_file();
    if (code == MDB_SUCCESS) code = env->open_tables(format);
    if (code == MDB_SUCCESS) return env;
    if (code == MDB_MAP_FULL && env->recover(code)) continue;
    env->close_file();
    // Half a header would pass for a damaged file the next time.
    if (is_new) ::unlink(env->path_.c_str());
    return tl::unexpected{env->to_error(code)};
  }
}

int environment::open_file() {
  if (env_) return MDB_SUCCESS;
  int code = mdb_env_create(&env_);
  if (code != MDB_SUCCESS) return code;
  mdb_env_set_maxdbs(env_, tables_max);
  mdb_env_set_maxreaders(env_, readers_max);
  mdb_env_set_mapsize(env_, map_bytes_);
  code = mdb_env_open(env_, path_.c_str(), MDB_NOSUBDIR | MDB_NOTLS, 0600);
  if (code != MDB_SUCCESS) {
    mdb_env_close(std::exchange(env_, nullptr));
    return code;
  }
  int dead = 0;
  mdb_reader_check(env_, &dead);
  return MDB_SUCCESS;
}

int environment::open_tables(std::optional<uint32_t> format_if_new) {
  MDB_txn* txn = nullptr;
  if (int code = mdb_txn_begin(env_, nullptr, 0, &txn)) return code;
  for (const table_row& row : all_tables()) {
    if (row.where != where_ && row.id != table::meta) continue;
    if (int code = mdb_dbi_open(txn, row.name, MDB_CREATE, &tables_[static_cast<size_t>(row.id)])) {
      mdb_txn_abort(txn);
      return code;
    }
  }
  if (format_if_new) {
    std::string number = encode_number(*format_if_new);
    MDB_val key{format_key.size(), const_cast<char*>(format_key.data())}, value{number.size(), number.data()};
    int code = mdb_put(txn, dbi(table::meta), &key, &value, MDB_NOOVERWRITE);
    if (code != MDB_SUCCESS && code != MDB_KEYEXIST) {
      mdb_txn_abort(txn);
      return code;
    }
  }
  return mdb_txn_commit(txn);
}

void environment::close_file() {
  for (MDB_txn* idle : readers_.close()) mdb_txn_abort(idle);
  if (env_) mdb_env_close(env_);
  env_ = nullptr;
  map_ = {};
  readers_.reopen();
}

bool environment::recover(int code) {
  if (code == MDB_MAP_FULL) return map_bytes_ < map_bytes_max && resize(map_bytes_ * 2);
  if (code == MDB_PANIC) return reopen();
  return false;
}

bool environment::resize(size_t map_bytes) {
  std::vector<MDB_txn*> idle = readers_.close();
  map_ = {};
  int code = env_ ? mdb_env_set_mapsize(env_, map_bytes) : MDB_PANIC;
  for (MDB_txn* txn : idle) mdb_txn_abort(txn);
  readers_.reopen();
  if (code == MDB_SUCCESS) {
    map_bytes_ = map_bytes;
    return true;
  }
  // The old map is gone; without address space for a larger one, go on with the old size.
  reopen();
  return false;
}

bool environment::reopen() {
  close_file();
  std::vector<MDB_txn*> none = readers_.close();
  bool ok = open_file() == MDB_SUCCESS && open_tables(std::nullopt) == MDB_SUCCESS;
  if (!ok && env_) mdb_env_close(std::exchange(env_, nullptr));
  readers_.reopen();
  return ok;
}

void environment::heal() {
  try {
    write_txn probe{*this};
  } catch (const lmdb_failure& e) {
    recover(e.code);
  }
}

void environment::release_pages() noexcept {
  int fd = -1;
  if (map_.empty() && mdb_env_get_fd(env_, &fd) == MDB_SUCCESS) map_ = find_mapping(fd);
  // A shared, clean file mapping: readers on it fault their pages in again and see the same.
  if (!map_.empty()) ::madvise(map_.data(), map_.size(), MADV_DONTNEED);
}

MDB_txn* environment::begin_read() {
  MDB_txn* txn = readers_.enter();
  bool renewed = txn != nullptr;
  int code = MDB_PANIC;
  if (renewed) {
    code = mdb_txn_renew(txn);
  } else if (env_) {
    code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
    int dead = 0;
    if (code == MDB_READERS_FULL && mdb_reader_check(env_, &dead) == MDB_SUCCESS && dead > 0)
      code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  }
  if (code == MDB_SUCCESS) return txn;
  if (renewed) mdb_txn_abort(txn);
  readers_.leave(nullptr);
  throw lmdb_failure{code, this};
}

void environment::end_read(MDB_txn* txn) noexcept {
  mdb_txn_reset(txn);
  if (!readers_.leave(txn)) mdb_txn_abort(txn);
}

error environment::to_error(int code) const {
  // LMDB calls a write that was cut short an I/O error; on a full disk a person needs the true reason.
  struct statvfs disk {};
  if (code == EIO && ::statvfs(path_.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < full_disk_bytes)
    code = ENOSPC;
  fault kind = fault::backend_failed;
  if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID) kind = fault::corrupt;
  if (code == MDB_VERSION_MISMATCH) kind = fault::newer_format;
  return {kind, "Cannot use the database " + path_ + ": " + mdb_strerror(code)};
}

} // namespace troupe
