#pragma once

#include "persist/reader_pool.hpp"
#include "persist/tables.hpp"

#include <array>
#include <cstddef>
#include <lmdb.h>

namespace troupe {

class environment;

/// LMDB said no. Thrown inside persist/ only, where a dozen calls in a row may fail for the same reason; the store's
/// public functions turn it into an outcome.
struct lmdb_failure {
  int code; // MDB_… or errno
  environment* where;
};

using visitor = std::function<bool(std::string_view, std::string_view)>;

/// One LMDB file with its tables. Opened once per process. Reading from any thread, writing from one at a time.
class environment {
public:
  /// Creates what is missing, with `format` as the format number of a new file.
  static outcome<std::unique_ptr<environment>> open(std::string path, scope where, size_t map_bytes, uint32_t format);
  ~environment();
  environment(const environment&) = delete;

  MDB_dbi dbi(table id) const { return tables_[static_cast<size_t>(id)]; }
  const std::string& path() const { return path_; }

  /// Does what makes a retry worthwhile: doubles a full map, opens anew after LMDB gave up on a failed meta page write.
  /// Both wait until nobody reads. False: there is nothing to be done. The thread that writes, no transaction open.
  bool recover(int code);
  /// `recover` if the environment refuses to begin transactions.
  void heal();

  error to_error(int code) const;

  /// Called after each commit. Every page of the growing event log is touched once through the map and would count as
  /// this process' resident memory from then on; they are handed back to the page cache.
  void release_pages() noexcept;

private:
  friend class read_txn;
  friend class write_txn;

  environment(std::string path, scope where, size_t map_bytes);
  int open_file();
  int open_tables(std::optional<uint32_t> format_if_new);
  void close_file();
  bool resize(size_t map_bytes);
  bool reopen();
  MDB_txn* begin_read();
  void end_read(MDB_txn* txn) noexcept;

  std::string path_;
  scope where_;
  size_t map_bytes_;
  MDB_env* env_ = nullptr; // null after a failed reopen
  std::array<MDB_dbi, static_cast<size_t>(table::meta) + 1> tables_{};
  reader_pool readers_;
  std::span<std::byte> map_; // found when first needed after it moved
};

} // namespace troupe
