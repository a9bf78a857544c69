// What the store costs over LMDB, in one run on one disk: bench_store DIR [COMMITS]. Prints JSON, microseconds.
// `floor` is one synced LMDB transaction of one record of 600 bytes.

#include "persist/store.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <lmdb.h>
#include <string>
#include <unistd.h>

namespace {

using namespace troupe;
using clock_type = std::chrono::steady_clock;

const std::string value(600, 'v');

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "bench_store: %s\n", why.c_str());
  std::exit(1);
}

class timings {
public:
  template <class Work>
  void time(Work&& work) {
    auto begin = clock_type::now();
    work();
    us_.push_back(std::chrono::duration<double, std::micro>(clock_type::now() - begin).count());
  }
  void print(const char* name, const char* separator = ",") {
    std::sort(us_.begin(), us_.end());
    std::printf("  \"%s\": {\"median_us\": %.2f, \"p99_us\": %.2f, \"n\": %zu}%s\n", name, us_[us_.size() / 2],
                us_[us_.size() * 99 / 100], us_.size(), separator);
  }

private:
  std::vector<double> us_;
};

message<schema::Event> event_of(const std::string& name) {
  return message<schema::Event>::make([&](schema::Event::Builder e) {
    e.setAction("instance-updated");
    e.setKind("instance");
    e.setProject("default");
    e.setEntity(name);
    e.setSource("/1.0/instances/" + name);
  });
}

std::string name_of(int i) { return "default/instance-" + std::to_string(i % 1000); }

batch local_only(int i) { return {{}, {{table::statuses, name_of(i), value}}, {event_of(name_of(i))}}; }
batch both(int i) {
  return {{}, {{table::instances, name_of(i), value}, {table::statuses, name_of(i), value}}, {event_of(name_of(i))}};
}

void commit(store& s, const std::vector<batch>& batches) {
  for (const auto& result : s.commit(batches))
    if (!result) give_up(result.error().message);
}

timings floor_commits(const std::string& path, int count) {
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  if (mdb_env_create(&env) || mdb_env_set_mapsize(env, size_t{1} << 30) ||
      mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS, 0600) || mdb_txn_begin(env, nullptr, 0, &txn) ||
      mdb_dbi_open(txn, nullptr, 0, &dbi) || mdb_txn_commit(txn))
    give_up("cannot open " + path);
  timings result;
  for (int i = 0; i < count; ++i)
    result.time([&] {
      std::string name = name_of(i);
      MDB_val k{name.size(), name.data()}, v{value.size(), const_cast<char*>(value.data())};
      if (mdb_txn_begin(env, nullptr, 0, &txn) || mdb_put(txn, dbi, &k, &v, 0) || mdb_txn_commit(txn))
        give_up("commit");
    });
  mdb_env_close(env);
  return result;
}

long resident_kb() {
  long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * (::sysconf(_SC_PAGESIZE) / 1024);
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) give_up("usage: bench_store DIR [COMMITS]");
  std::string folder = std::string{argv[1]} + "/bench-store-" + std::to_string(::getpid());
  int count = argc > 2 ? std::atoi(argv[2]) : 1000;
  std::filesystem::create_directories(folder);

  timings floor = floor_commits(folder + "/floor.mdb", count);
  long before_kb = resident_kb();
  auto opened = store::open(folder, "bench");
  if (!opened) give_up(opened.error().message);
  store& s = **opened;
  std::vector<batch> all;
  for (int i = 0; i < 1000; ++i) all.push_back(both(i));
  commit(s, all);
  long filled_kb = resident_kb();

  timings one_local, one_both, eight_local, eight_both, get, scan, read_only;
  for (int i = 0; i < count; ++i) { // interleaved: the disk's mood is the same for all
    one_local.time([&] { commit(s, {local_only(i)}); });
    one_both.time([&] { commit(s, {both(i)}); });
    std::vector<batch> local, mixed;
    for (int k = 0; k < 8; ++k) local.push_back(local_only(8 * i + k)), mixed.push_back(both(8 * i + k));
    eight_local.time([&] { commit(s, local); });
    eight_both.time([&] { commit(s, mixed); });
  }
  size_t bytes = 0;
  for (int i = 0; i < 100 * count; ++i) {
    std::string key = name_of(i * 7);
    get.time([&] { bytes += s.read().get(table::instances, key)->size(); });
  }
  snapshot view = s.read();
  for (int i = 0; i < 100 * count; ++i) {
    std::string key = name_of(i * 7);
    read_only.time([&] { bytes += view.get(table::instances, key)->size(); });
  }
  for (int i = 0; i < count; ++i)
    scan.time([&] {
      s.read().scan(table::instances, "default/", [&](std::string_view, std::string_view found) {
        bytes += found.size() + static_cast<unsigned char>(found[0]);
        return true;
      });
    });
  long loaded_kb = resident_kb();

  std::printf("{\n");
  floor.print("floor");
  one_local.print("commit_local");
  one_both.print("commit_both");
  eight_local.print("commit_8_local");
  eight_both.print("commit_8_both");
  get.print("read_and_get");
  read_only.print("get");
  scan.print("scan_1000");
  std::printf("  \"resident_kb\": {\"before\": %ld, \"filled\": %ld, \"after_load\": %ld},\n", before_kb, filled_kb,
              loaded_kb);
  std::printf("  \"events\": %llu, \"bytes_read\": %zu\n}\n", static_cast<unsigned long long>(s.last_seq()), bytes);
  std::filesystem::remove_all(folder);
}
