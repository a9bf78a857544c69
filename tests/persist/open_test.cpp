#include "persist/keys.hpp"
#include "persist/migrations.hpp"
#include "store_fixture.hpp"

#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::test;

namespace {

std::string file_bytes(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Names and contents of everything in the database folder.
std::map<std::string, std::string> folder_image(const scratch_folder& folder) {
  std::map<std::string, std::string> image;
  for (const auto& entry : std::filesystem::directory_iterator{folder.path + "/database"})
    image[entry.path().filename()] = file_bytes(entry.path());
  return image;
}

fault refusal(const scratch_folder& folder, const store_options& options = {}) {
  auto opened = store::open(folder.path, "m1", options);
  REQUIRE(!opened);
  INFO(opened.error().message);
  REQUIRE(std::isupper(opened.error().message.front()));
  return opened.error().code;
}

unsigned mode_of(const std::string& path) {
  struct stat st {};
  REQUIRE(::stat(path.c_str(), &st) == 0);
  return st.st_mode & 07777;
}

// The formats of a daemon of the day after tomorrow: cluster changes twice, local once.
void rename_keys(write_txn& txn) {
  std::map<std::string, std::string> old;
  txn.scan(table::config, {}, [&](std::string_view key, std::string_view value) {
    old.emplace(key, value);
    return true;
  });
  for (const auto& [key, value] : old) {
    txn.erase(table::config, key);
    txn.put(table::config, "v2/" + key, value);
  }
}
void add_record(write_txn& txn) { txn.put(table::config, "added-by-3", "yes"); }
void swell(write_txn& txn) {
  for (int i = 0; i < 300; ++i) txn.put(table::journal, record_name(i), std::string(10'000, 'j'));
}
const uint32_t cluster_now = built_in_formats().cluster, local_now = built_in_formats().local;
const migration cluster_steps[] = {{cluster_now, rename_keys}, {cluster_now + 1, add_record}};
const migration local_steps[] = {{local_now, swell}};
const format_history later{cluster_now + 2, local_now + 1, cluster_steps, local_steps};

} // namespace

TEST_CASE("the database is private") {
  scratch_folder folder;
  ::umask(0);
  auto s = open_store(folder.path);
  ::umask(022);
  REQUIRE(mode_of(folder.path + "/database") == 0700);
  for (const char* name : {"cluster.mdb", "local.mdb", "cluster.mdb-lock", "local.mdb-lock"})
    REQUIRE(mode_of(folder.file(name)) == 0600);
}

TEST_CASE("a second daemon is refused while the first runs") {
  scratch_folder folder{medium::memory};
  auto s = open_store(folder.path);
  REQUIRE(refusal(folder) == fault::busy);
  s.reset();
  open_store(folder.path);
}

TEST_CASE("an older format is migrated step by step, once") {
  scratch_folder folder{medium::memory};
  REQUIRE(commit_one(*open_store(folder.path), {{}, {{table::config, "k", "v"}}, {make_event("a", "c1")}}));
  store_options options{.map_bytes = 1 << 20, .formats = &later}; // the migration needs more than that
  for (int round = 0; round < 2; ++round) {
    auto s = open_store(folder.path, options);
    auto config = contents(*s, table::config);
    REQUIRE(config == std::map<std::string, std::string>{{"added-by-3", "yes"}, {"v2/k", "v"}});
    REQUIRE(contents(*s, table::journal).size() == 300);
    REQUIRE(s->last_seq() == 1);
  }
  REQUIRE(refusal(folder) == fault::newer_format);
}

TEST_CASE("a database of the first format, without newer tables, is taken over") {
  scratch_folder folder{medium::memory};
  const format_history first{.cluster = 1, .local = 1};
  REQUIRE(commit_one(*open_store(folder.path, {.formats = &first}),
                     {{}, {{table::config, "k", "v"}, {table::images, "abc", "i"}, {table::aliases, "a/b", "x"}}, {}}));
  auto s = open_store(folder.path);
  using records = std::map<std::string, std::string>;
  REQUIRE(contents(*s, table::config) == records{{"k", "v"}});
  REQUIRE(contents(*s, table::images) == records{{"default/abc", "i"}}); // they belonged to nobody, so to everybody
  REQUIRE(contents(*s, table::aliases) == records{{"default/a/b", "x"}});
  for (auto where : {table::sinks, table::certificates, table::operation_entities, table::subscriptions,
                     table::sink_statuses, table::dead_letters})
    REQUIRE(commit_one(*s, {{}, {{where, "s", "v"}}, {}}));
  s.reset();
  REQUIRE(refusal(folder, {.formats = &first}) == fault::newer_format);
}

TEST_CASE("a newer format is refused and nothing is touched") {
  scratch_folder folder{medium::memory};
  bool only_local = GENERATE(false, true);
  format_history newer = later;
  if (only_local) newer.cluster = cluster_now;
  REQUIRE(commit_one(*open_store(folder.path, {.formats = &newer}), numbered_batch(1)));
  auto before = folder_image(folder);
  REQUIRE(refusal(folder) == fault::newer_format);
  REQUIRE(folder_image(folder) == before);
}

TEST_CASE("a format without a way to migrate it is refused and nothing is touched") {
  scratch_folder folder{medium::memory};
  open_store(folder.path);
  auto before = folder_image(folder);
  format_history gap{cluster_now + 2, local_now, std::span{cluster_steps}.subspan(1), {}};
  REQUIRE(refusal(folder, {.formats = &gap}) == fault::corrupt);
  REQUIRE(folder_image(folder) == before);
}

TEST_CASE("damaged files are refused and left as they are") {
  scratch_folder folder{medium::memory};
  {
    auto s = open_store(folder.path);
    for (int i = 0; i < 50; ++i) REQUIRE(commit_one(*s, numbered_batch(i, 3000)));
  }
  std::string victim = folder.file(GENERATE("cluster.mdb", "local.mdb"));
  auto size = std::filesystem::file_size(victim);

  SECTION("something else") { std::ofstream{victim, std::ios::trunc} << std::string(20'000, 'z'); }
  SECTION("a text") { std::ofstream{victim, std::ios::trunc} << "hello"; }
  SECTION("cut in the middle") { std::filesystem::resize_file(victim, size / 2); }
  SECTION("cut by one page") { std::filesystem::resize_file(victim, size - 4096); }
  SECTION("only the header left") { std::filesystem::resize_file(victim, 8192); }
  SECTION("a folder") {
    std::filesystem::remove(victim);
    std::filesystem::create_directory(victim);
  }
  bool is_file = std::filesystem::is_regular_file(victim);
  std::string before = is_file ? file_bytes(victim) : "";
  REQUIRE(refusal(folder) == fault::corrupt);
  if (is_file) REQUIRE(file_bytes(victim) == before);
}

TEST_CASE("a lost local.mdb starts a new epoch, and the change that was last is told again in it") {
  scratch_folder folder{medium::memory};
  uint64_t index = 0;
  {
    auto s = open_store(folder.path);
    REQUIRE(commit_one(*s, numbered_batch(1)));
    index = commit_one(*s, numbered_batch(2))->index;
  }
  std::filesystem::remove(folder.file("local.mdb"));
  for (uint32_t expected : {2u, 2u}) {
    auto s = open_store(folder.path);
    REQUIRE(s->epoch() == expected);
    for (const auto& [key, value] : contents(*s, table::events))
      message<schema::Event>::from_bytes(value).read([&](schema::Event::Reader e) {
        REQUIRE(e.getEpoch() == 2);
        REQUIRE(e.getSeq() == event_seq(key));
      });
    REQUIRE(s->read().get(table::instances, "i1").has_value());
    auto done = commit_one(*s, {{}, {{table::config, "k", "v"}}, {}});
    REQUIRE(done->index > index);
  }
}

TEST_CASE("a local.mdb without its cluster.mdb is refused") {
  scratch_folder folder{medium::memory};
  REQUIRE(commit_one(*open_store(folder.path), numbered_batch(1)));
  std::filesystem::remove(folder.file("cluster.mdb"));
  auto before = folder_image(folder);
  REQUIRE(refusal(folder) == fault::corrupt);
  REQUIRE(folder_image(folder) == before);
}

TEST_CASE("empty files are where a first start was killed") {
  scratch_folder folder{medium::memory};
  std::filesystem::create_directory(folder.path + "/database");
  std::ofstream{folder.file("cluster.mdb")};
  auto s = open_store(folder.path);
  REQUIRE(commit_one(*s, numbered_batch(1)));
}
