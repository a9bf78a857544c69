#include "persist/transaction.hpp"

#include <algorithm>
#include <memory>

namespace troupe {
namespace {

MDB_val to_val(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
std::string_view to_view(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }

void check(int code, environment* where) {
  if (code != MDB_SUCCESS) throw lmdb_failure{code, where};
}

using cursor_ptr = std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)>;

cursor_ptr open_cursor(MDB_txn* txn, MDB_dbi dbi, environment* where) {
  MDB_cursor* cursor = nullptr;
  check(mdb_cursor_open(txn, dbi, &cursor), where);
  return {cursor, &mdb_cursor_close};
}

std::optional<std::string_view> get_record(MDB_txn* txn, MDB_dbi dbi, std::string_view key, environment* where) {
  if (key.empty()) return std::nullopt; // LMDB has no empty keys and calls them an error
  MDB_val k = to_val(key), v{};
  int code = mdb_get(txn, dbi, &k, &v);
  if (code == MDB_NOTFOUND) return std::nullopt;
  check(code, where);
  return to_view(v);
}

void scan_records(MDB_txn* txn, MDB_dbi dbi, std::string_view from, const visitor& visit, environment* where) {
  cursor_ptr cursor = open_cursor(txn, dbi, where);
  MDB_val k = to_val(from), v{};
  int code = mdb_cursor_get(cursor.get(), &k, &v, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
  while (code == MDB_SUCCESS && visit(to_view(k), to_view(v))) code = mdb_cursor_get(cursor.get(), &k, &v, MDB_NEXT);
  if (code != MDB_NOTFOUND) check(code, where);
}

} // namespace

read_txn::~read_txn() {
  if (txn_) env_->end_read(txn_);
}

std::optional<std::string_view> read_txn::get(table where, std::string_view key) const {
  return get_record(txn_, env_->dbi(where), key, env_);
}

void read_txn::scan(table where, std::string_view from, const visitor& visit) const {
  scan_records(txn_, env_->dbi(where), from, visit, env_);
}

write_txn::write_txn(environment& env) : env_{&env} {
  if (!env.env_) throw lmdb_failure{MDB_PANIC, env_};
  check(mdb_txn_begin(env.env_, nullptr, 0, &txn_), env_);
}

write_txn::~write_txn() {
  if (txn_) mdb_txn_abort(txn_);
}

std::optional<std::string_view> write_txn::get(table where, std::string_view key) const {
  return get_record(txn_, env_->dbi(where), key, env_);
}

void write_txn::scan(table where, std::string_view from, const visitor& visit) const {
  scan_records(txn_, env_->dbi(where), from, visit, env_);
}

void write_txn::put(table where, std::string_view key, std::string_view value) {
  MDB_val k = to_val(key), v = to_val(value);
  check(mdb_put(txn_, env_->dbi(where), &k, &v, 0), env_);
}

void write_txn::erase(table where, std::string_view key) {
  MDB_val k = to_val(key);
  int code = mdb_del(txn_, env_->dbi(where), &k, nullptr);
  if (code != MDB_NOTFOUND) check(code, env_);
}

void write_txn::commit() {
  check(mdb_txn_commit(std::exchange(txn_, nullptr)), env_);
  env_->release_pages();
}

} // namespace troupe
