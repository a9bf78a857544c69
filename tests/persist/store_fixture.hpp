#pragma once

#include "persist/store.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <stdlib.h>
#include <unistd.h>

namespace troupe::test {

enum class medium { disk, memory };

/// A folder of the test's own, gone at its end. In memory for tests that bring their own faults: their hundreds of
/// syncs need no disk.
struct scratch_folder {
  std::string path;

  explicit scratch_folder(medium on = medium::disk) {
    path = on == medium::memory && ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    path += "/troupe-persist-XXXXXX";
    REQUIRE(::mkdtemp(path.data()));
  }
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string file(const std::string& name) const { return path + "/database/" + name; }
};

/// No checkpoint but those that a test or a full log asks for.
inline const store_options by_hand{.checkpoint_after = std::chrono::hours{1}};

inline std::unique_ptr<store> open_store(const std::string& folder, const store_options& options = {}) {
  auto opened = store::open(folder, "m1", options);
  INFO((opened ? "" : opened.error().message));
  REQUIRE(opened);
  return std::move(*opened);
}

inline message<schema::Event> make_event(const std::string& action, const std::string& entity, int64_t time = 0) {
  return message<schema::Event>::make([&](schema::Event::Builder e) {
    e.setAction(action);
    e.setKind("instance");
    e.setProject("default");
    e.setEntity(entity);
    e.setTime(time);
  });
}

inline std::string record_name(int number) { return "i" + std::to_string(number); }

/// A change of both environments with two events. `size` bytes of value in each.
inline batch numbered_batch(int number, size_t size = 100) {
  std::string name = record_name(number);
  std::string value = name + std::string(size, 'x');
  return {{},
          {{table::instances, name, value}, {table::statuses, name, value}},
          {make_event("instance-created", name), make_event("instance-started", name)}};
}

inline outcome<committed> commit_one(store& s, const batch& b) { return std::move(s.commit({&b, 1}).front()); }

inline std::map<std::string, std::string> contents(const store& s, table where, std::string_view prefix = {}) {
  std::map<std::string, std::string> found;
  s.read().scan(where, prefix, [&](std::string_view key, std::string_view value) {
    found.emplace(key, value);
    return true;
  });
  return found;
}

/// Every numbered batch is there as a whole or not at all, and the log has no hole and no double. Returns their count.
inline size_t require_in_step(const store& s) {
  auto instances = contents(s, table::instances);
  auto statuses = contents(s, table::statuses);
  REQUIRE(instances == statuses);
  std::map<std::string, int> told;
  uint64_t seq = s.first_seq();
  for (const auto& [key, value] : contents(s, table::events)) {
    REQUIRE(key == event_key(seq));
    message<schema::Event>::from_bytes(value).read([&](schema::Event::Reader e) {
      REQUIRE(e.getSeq() == seq);
      REQUIRE(e.getEpoch() == s.epoch());
      REQUIRE(e.getTime() > 0);
      ++told[e.getEntity().cStr()];
    });
    ++seq;
  }
  REQUIRE(seq == s.last_seq() + 1);
  REQUIRE(told.size() == instances.size());
  for (const auto& [name, count] : told) {
    REQUIRE(instances.count(name) == 1);
    REQUIRE(count == 2);
    REQUIRE(contents(s, table::history, history_prefix("instance", "default", name)).size() == 2);
  }
  return instances.size();
}

} // namespace troupe::test
