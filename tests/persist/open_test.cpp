#include "persist/keys.hpp"
#include "persist/migrations.hpp"
#include "store_fixture.hpp"

#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>

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
  for (const char* name : {"cluster.mdb", "local.mdb", "cluster.mdb-lock", "local.mdb-lock", "log.0", "log.1"})
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
  store_options options{.map_bytes = 1 << 20,
                        .formats = &later,
                        .checkpoint_after = std::chrono::hours{1}}; // the migration needs more than that
  for (int round = 0; round < 2; ++round) {
    auto s = open_store(folder.path, options);
    auto config = contents(*s, table::config);
    REQUIRE(config == std::map<std::string, std::string>{{"added-by-3", "yes"}, {"v2/k", "v"}});
    REQUIRE(contents(*s, table::journal).size() == 300);
    REQUIRE(s->last_seq() == 1);
  }
  REQUIRE(refusal(folder) == fault::newer_format);
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

/// Commits as a daemon that is killed afterwards, without any checkpoint: the map is too small for one, and it cannot
/// grow while somebody reads.
void commit_and_die(const scratch_folder& folder, int first, int count) {
  pid_t pid = ::fork();
  if (pid == 0) {
    auto s = store::open(folder.path, "m1", {.map_bytes = 1 << 18, .checkpoint_after = std::chrono::hours{1}});
    bool ok = s.has_value();
    std::optional<snapshot> reader;
    if (ok) reader.emplace((*s)->read());
    for (int i = 0; ok && i < count; ++i) ok = commit_one(**s, numbered_batch(first + i, 3000)).has_value();
    ::_exit(ok ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(status == 0);
}

TEST_CASE("a lost local.mdb starts a new epoch, and no change of the cluster's is lost with it") {
  scratch_folder folder{medium::memory};
  REQUIRE(commit_one(*open_store(folder.path), numbered_batch(1)));
  commit_and_die(folder, 2, 3); // in the log only
  std::filesystem::remove(folder.file("local.mdb"));
  for (uint64_t round = 0; round < 2; ++round) {
    auto s = open_store(folder.path);
    REQUIRE(s->epoch() == 2);
    REQUIRE(s->last_seq() == 2 * round);
    REQUIRE(contents(*s, table::events).size() == 2 * round);
    for (int i = 1; i <= 4; ++i) REQUIRE(s->read().get(table::instances, record_name(i)).has_value());
    auto done = commit_one(*s, numbered_batch(9));
    REQUIRE(done->index == 5 + round);
  }
}

TEST_CASE("a damaged log is refused where commits are missing, and ends where the last one was cut short") {
  scratch_folder folder{medium::memory};
  open_store(folder.path);
  commit_and_die(folder, 0, 100); // in both files
  auto spoil = [&](const char* name, size_t at) {
    std::fstream file{folder.file(name), std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(at));
    file.put('\x5a');
  };
  SECTION("in the older file") {
    spoil("log.0", 300'000);
    auto before = file_bytes(folder.file("log.0"));
    REQUIRE(refusal(folder) == fault::corrupt);
    REQUIRE(file_bytes(folder.file("log.0")) == before);
  }
  SECTION("the older file is gone") {
    std::filesystem::remove(folder.file("log.0"));
    REQUIRE(refusal(folder) == fault::corrupt);
  }
  SECTION("in the newer file") {
    spoil("log.1", 20'000);
    auto s = open_store(folder.path);
    auto found = require_in_step(*s);
    REQUIRE(found > 30);
    REQUIRE(found < 100);
  }
  SECTION("of another database") {
    scratch_folder other{medium::memory};
    open_store(other.path);
    commit_and_die(other, 0, 1);
    std::filesystem::copy_file(other.file("log.0"), folder.file("log.0"),
                               std::filesystem::copy_options::overwrite_existing);
    REQUIRE(refusal(folder) == fault::corrupt);
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
