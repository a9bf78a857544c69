#include "actors/pools.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"
#include "gateway/rest/with_driver.hpp"
#include "gateway/volume_view.hpp"

namespace troupe {
namespace {

using pool_record = message<schema::PoolSpec>;

std::string pool_json(const rest_request& from, const snapshot& records, const pool_record& pool) {
  std::string out = "{";
  pool.read([&](schema::PoolSpec::Reader p) {
    write_json_fields(out, p);
    out += R"(,"status":"Created","locations":["none"])";
    write_used_by(out, from.head->who, users_of_pool(records, view(p.getName())));
  });
  return out + "}";
}

void update(const rest_request& from, bool patch) {
  auto body = body_of<schema::PoolPut>(from);
  if (!body) return reply_error(from, body.error());
  ask_sync(from, role::pools, "", update_pool{from.parameter(0), {*body, from.head}, from.etag(), patch});
}

std::optional<pool_record> find_pool(const rest_request& from) {
  auto pool = load<schema::PoolSpec>(from.with().db.read(), table::pools, from.parameter(0));
  if (!pool) reply_error(from, {fault::not_found, "Storage pool not found"});
  return pool;
}

} // namespace

void get_pools(const rest_request& from) {
  reply_from_blocking_thread(from, [from]() -> outcome<std::string> {
    auto records = from.with().db.read();
    json_list list;
    records.scan(table::pools, "", [&](std::string_view name, std::string_view bytes) {
      if (from.recursion() == 0)
        list.url("/1.0/storage-pools/", name);
      else
        list.next() += pool_json(from, records, pool_record::from_bytes(bytes));
      return true;
    });
    return std::move(list).take();
  });
}

void post_pools(const rest_request& from) {
  auto body = body_of<schema::PoolsPost>(from);
  if (!body) return reply_error(from, body.error());
  auto name = body->read([](auto post) { return text(post.getName()); });
  ask_sync(from, role::pools, "/1.0/storage-pools/" + name, envelope<schema::PoolsPost>{*body, from.head});
}

void get_pool(const rest_request& from) {
  if (auto pool = find_pool(from))
    reply_sync(from, pool_json(from, from.with().db.read(), *pool), etag_of(pool->bytes()));
}

void put_pool(const rest_request& from) { update(from, false); }
void patch_pool(const rest_request& from) { update(from, true); }
void delete_pool_(const rest_request& from) {
  ask_sync(from, role::pools, "", delete_pool{from.parameter(0), from.head});
}

void get_pool_resources(const rest_request& from) {
  with_driver(from, [](storage_driver& driver) -> outcome<std::string> {
    auto space = measure_pool(driver);
    if (!space) return tl::unexpected{space.error()};
    return to_json(*space);
  });
}

} // namespace troupe
