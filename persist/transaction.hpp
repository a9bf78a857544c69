#pragma once

#include "persist/environment.hpp"

namespace troupe {

/// A read transaction from the environment's pool. Use from one thread at a time. Throws lmdb_failure.
class read_txn {
public:
  explicit read_txn(environment& env) : env_{&env}, txn_{env.begin_read()} {}
  read_txn(read_txn&& other) noexcept : env_{other.env_}, txn_{std::exchange(other.txn_, nullptr)} {}
  ~read_txn();

  std::optional<std::string_view> get(table where, std::string_view key) const;
  /// In key order from the first key >= `from`, until `visit` returns false.
  void scan(table where, std::string_view from, const visitor& visit) const;

private:
  environment* env_;
  MDB_txn* txn_;
};

/// The write transaction, on disk when commit returns; aborts unless committed. One at a time, begun and ended by one
/// thread. Throws lmdb_failure.
class write_txn {
public:
  explicit write_txn(environment& env);
  write_txn(const write_txn&) = delete;
  ~write_txn();

  /// Valid until the next change.
  std::optional<std::string_view> get(table where, std::string_view key) const;
  /// `visit` must not change the table.
  void scan(table where, std::string_view from, const visitor& visit) const;
  void put(table where, std::string_view key, std::string_view value);
  void erase(table where, std::string_view key);
  void commit();

private:
  environment* env_;
  MDB_txn* txn_ = nullptr;
};

} // namespace troupe
