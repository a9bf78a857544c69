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
  std::optional<std::string_view> last_key(table where) const;

private:
  environment* env_;
  MDB_txn* txn_;
};

/// full: on disk when commit returns. lazy: the data is, but a power cut may still take the transaction back as a whole
/// (until the next commit or sync). A killed process loses neither.
enum class durability : uint8_t { full, lazy };

/// The write transaction; aborts unless committed. Writer thread. Throws lmdb_failure.
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
  void commit(durability how = durability::full);

private:
  environment* env_;
  MDB_txn* txn_ = nullptr;
};

} // namespace troupe
