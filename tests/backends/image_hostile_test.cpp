#include "backends/image/helper_call.hpp"
#include "backends/image/unpack_rules.hpp"
#include "tests/backends/image_archives.hpp"

using namespace troupe;
using namespace troupe::test;
using Catch::Matchers::Contains;

namespace {

/// Makes the header of `name` in a plain tarball promise `size` bytes, with the checksum set right.
void claim_size(std::string& tar, const std::string& name, uint64_t size) {
  const auto header = tar.find(name + '\0');
  REQUIRE(header % 512 == 0);
  auto at = [&](size_t offset) -> char& { return tar.at(header + offset); };
  at(124) = '\x80'; // the number is binary, big-endian
  for (size_t i = 0; i < 11; ++i) at(135 - i) = static_cast<char>(i < 8 ? size >> (8 * i) : 0);
  unsigned sum = 8 * ' ';
  for (size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? 0 : static_cast<unsigned char>(at(i));
  char digits[8];
  std::snprintf(digits, sizeof digits, "%06o", sum);
  for (size_t i = 0; i < 7; ++i) at(148 + i) = digits[i];
}

} // namespace

TEST_CASE("an archive that reaches out of its tree is refused") {
  stage s;
  auto [bad, word] = GENERATE(
      table<item, std::string>({{item{"../escaped", AE_IFREG, "x"}, "leaves it"},
                                {item{"rootfs/../../escaped", AE_IFREG, "x"}, "leaves it"},
                                {item{"rootfs/a/..", AE_IFREG, "x"}, "leaves it"},
                                {item{"/tmp/troupe-image-test-escaped", AE_IFREG, "x"}, "absolute"},
                                {hard_link("rootfs/shadow", "/etc/shadow"), "absolute"},
                                {hard_link("rootfs/shadow", "../../etc/shadow"), "leaves it"},
                                {hard_link("rootfs/shadow", "rootfs/nowhere"), "no earlier file"},
                                {hard_link("rootfs/yaml", "metadata.yaml"), "no earlier file"},
                                {link_to("metadata.yaml", "/etc/shadow"), "no regular file"},
                                {link_to("templates/x.tpl", "/etc/shadow"), "no regular file"},
                                {link_to("templates", "/etc"), "no regular file"},
                                {link_to("rootfs", "/etc"), "no directory"},
                                {item{"rootfs/owner", AE_IFREG, "x", 0644, int64_t{1} << 33}, "out of range"}}));
  INFO(bad.path);
  auto error = s.refusal(pack(with_root({bad})));
  CHECK(error.code == fault::invalid);
  CHECK_THAT(error.message, Contains(word));
  CHECK_FALSE(std::filesystem::exists("/tmp/troupe-image-test-escaped"));
}

TEST_CASE("nothing is unpacked through a symbolic link") {
  stage s;
  auto target = s.dir / "outside";
  std::filesystem::create_directory(target);
  for (const auto& way : {target, std::string{"../.."}, std::string{"."}}) {
    auto error = s.refusal(pack(with_root({link_to("rootfs/way", way), {"rootfs/way/file", AE_IFREG, "x"}})));
    CHECK_THAT(error.message, Contains("no directory"));
  }
  CHECK(std::filesystem::is_empty(target));
}

TEST_CASE("of two entries with one name the last wins, and a link is replaced, not followed") {
  stage s;
  auto victim = s.dir / "victim";
  spill(victim, "untouched");
  auto facts = s.take(stage::upload(pack(with_root({link_to("rootfs/a", victim),
                                                    {"rootfs/a", AE_IFREG, "second"},
                                                    {"rootfs/b", AE_IFREG, "first"},
                                                    hard_link("rootfs/c", "rootfs/b"),
                                                    {"rootfs/b", AE_IFREG, "last"},
                                                    {"rootfs/d", AE_IFREG, "file"},
                                                    directory("rootfs/d"),
                                                    {"rootfs/d/e", AE_IFREG, "in"},
                                                    directory("rootfs/d", 0700)}))));
  INFO((facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
  CHECK(slurp(victim) == "untouched");
  CHECK(slurp(s.volume + "/rootfs/a") == "second");
  CHECK(slurp(s.volume + "/rootfs/b") == "last");
  CHECK(slurp(s.volume + "/rootfs/c") == "first");
  CHECK(slurp(s.volume + "/rootfs/d/e") == "in");
  CHECK((s.look("rootfs/d").st_mode & 07777) == 0700);
}

TEST_CASE("a directory is not replaced by something else") {
  stage s;
  auto error = s.refusal(
      pack(with_root({directory("rootfs/etc"), {"rootfs/etc/x", AE_IFREG, "x"}, link_to("rootfs/etc", "/etc")})));
  CHECK(error.code == fault::invalid);
}

TEST_CASE("what is no image is refused with a reason") {
  stage s;
  CHECK_THAT(s.refusal("").message, Contains("no tarball"));
  CHECK_THAT(s.refusal(std::string(5000, 'g')).message, Contains("no tarball"));
  CHECK_THAT(s.refusal("\x1f\x8b" + std::string(5000, 'g')).message, Contains("broken"));
  CHECK_THAT(s.refusal(std::string{"\xfd"} + "7zXZ" + std::string(5000, 'g')).message, Contains("broken"));
  CHECK_THAT(s.refusal(pack({{"readme", AE_IFREG, "hi"}})).message, Contains("no metadata.yaml"));
  CHECK_THAT(s.refusal(pack({yaml_item})).message, Contains("neither rootfs"));
  CHECK_THAT(s.refusal(pack({directory("rootfs")})).message, Contains("no metadata.yaml"));
  CHECK_THAT(s.refusal(pack(with_root({{"rootfs.img", AE_IFREG, "x"}}))).message, Contains("both"));
  CHECK_THAT(s.refusal(pack({{"metadata.yaml", AE_IFREG, "a: [*x]"}, directory("rootfs")})).message,
             Contains("metadata.yaml"));
  auto bad_root = s.store.inspect(stage::upload(pack({yaml_item}), "garbage"), nullptr);
  CHECK_THAT(bad_root.error().message, Contains("neither a squashfs"));
}

TEST_CASE("a truncated archive is refused wherever it is cut") {
  stage s;
  auto filter = GENERATE(ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_ZSTD);
  auto whole = pack(with_root({{"rootfs/noise", AE_IFREG, noise(300'000)}}), filter);
  for (auto size : {size_t{100}, whole.size() / 3, whole.size() / 2, whole.size() - 20'000}) {
    INFO(filter << " " << size);
    CHECK(s.refusal(whole.substr(0, size)).code == fault::invalid);
  }
}

TEST_CASE("damaged squashfs images end in an error or a tree, never in more") {
  stage model;
  auto facts = model.take(stage::upload(pack(with_root(
      {{"rootfs/a", AE_IFREG, std::string(50'000, 'a')}, {"rootfs/d/b", AE_IFREG, "b"}, link_to("rootfs/l", "/")}))));
  REQUIRE(facts.has_value());
  const auto squash = model.dir / "root.squashfs";
  REQUIRE(run({"mksquashfs", model.volume + "/rootfs", squash, "-noappend", "-quiet", "-no-progress"}));
  const auto good = slurp(squash);
  const auto metadata = pack({yaml_item});
  uint32_t seed = 42;
  size_t refused = 0;
  for (int round = 0; round < 60; ++round) {
    auto bad = good;
    for (int i = 0; i < 3; ++i) {
      seed = seed * 1664525 + 1013904223;
      bad[(8 + (seed >> 8) % (round % 2 ? 88 : 800)) % bad.size()] = static_cast<char>(seed >> 24);
    }
    stage s;
    auto taken = s.take(stage::upload(metadata, bad));
    if (!taken) {
      ++refused;
      CHECK_FALSE(taken.error().message.empty());
    }
    for (const auto& entry : std::filesystem::directory_iterator{s.dir.path})
      CHECK((entry.path().filename() == "images" || entry.path().filename() == "volume"));
  }
  CHECK(refused > 20);
}

TEST_CASE("sizes beyond the limit are refused before they are written") {
  stage s;
  auto lying = pack(with_root({{"rootfs/huge", AE_IFREG, "x"}}));
  claim_size(lying, "rootfs/huge", uint64_t{1} << 45);
  CHECK(s.refusal(lying).code == fault::too_large);
  item yaml{"metadata.yaml", AE_IFREG, std::string(2 << 20, ' ')};
  CHECK(s.refusal(pack({yaml, directory("rootfs")})).code == fault::too_large);
}

TEST_CASE("the unpacking rules count entries, bytes and depth") {
  unpack_limits limits;
  limits.entries_max = 3;
  limits.bytes_max = 100;
  limits.depth_max = 4;
  auto admit = [](unpack_rules& rules, const std::string& path, uint64_t size) {
    return rules.admit(archive_form::unified, {entry_kind::file, path, {}, size});
  };
  {
    unpack_rules rules{limits};
    REQUIRE(admit(rules, "rootfs/a", 60).has_value());
    CHECK(admit(rules, "rootfs/b", 41).error().code == fault::too_large);
    CHECK(admit(rules, "rootfs/c", UINT64_MAX).error().code == fault::too_large);
    CHECK_THAT(admit(rules, "rootfs/d", 1).error().message, Contains("entries"));
  }
  {
    unpack_rules rules{limits};
    CHECK(admit(rules, "rootfs/1/2/3", 0).has_value());
    CHECK(admit(rules, "rootfs/1/2/3/4", 0).error().code == fault::too_large);
  }
  unpack_rules rules{{}};
  CHECK(admit(rules, "rootfs/" + std::string(256, 'x'), 0).error().code == fault::invalid);
  CHECK(admit(rules, std::string(5000, 'x'), 0).error().code == fault::too_large);
  CHECK(admit(rules, "", 0).error().code == fault::invalid);
  CHECK(admit(rules, std::string("rootfs/a\0b", 10), 0).error().code == fault::invalid);
  CHECK(admit(rules, "rootfs//./x/", 0).value()->path == "rootfs/x");
}

TEST_CASE("a hundred thousand tiny entries are fine") {
  stage s;
  std::vector<item> many;
  for (int i = 0; i < 100'000; ++i)
    many.push_back({"rootfs/d" + std::to_string(i % 100) + "/f" + std::to_string(i), AE_IFREG, ""});
  auto facts = s.store.inspect(stage::upload(pack(with_root(many), ARCHIVE_FILTER_GZIP)), nullptr);
  INFO((facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
}

TEST_CASE("unpacking leaves the volume's surroundings and the folder's own rights alone") {
  stage s;
  std::filesystem::permissions(s.volume, std::filesystem::perms{0700});
  REQUIRE(s.take(stage::upload(pack(with_root({{"rootfs/a", AE_IFREG, "a"}})))).has_value());
  struct stat st {};
  REQUIRE(stat(s.volume.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0700);
  for (const auto& entry : std::filesystem::directory_iterator{s.dir.path})
    CHECK((entry.path().filename() == "images" || entry.path().filename() == "volume"));
}

TEST_CASE("a volume that is not empty is not written over") {
  stage s;
  auto victim = s.dir / "victim";
  std::filesystem::create_directory(victim);
  std::filesystem::create_directory_symlink(victim, s.volume + "/rootfs");
  auto facts = s.take(stage::upload(pack(with_root({{"rootfs/a", AE_IFREG, "new"}}))));
  REQUIRE_FALSE(facts.has_value());
  CHECK(facts.error().code == fault::backend_failed);
  CHECK(std::filesystem::is_empty(victim));
}

TEST_CASE("an unpacker that lies, ends early or does not start is an error") {
  scratch dir;
  auto archive = file_of("x");
  auto ask = [&](const std::string& program) {
    auto call = start_unpacker(program, {archive.get()}, -1);
    if (!call) return call.error();
    auto found = call->wait(nullptr);
    REQUIRE_FALSE(found.has_value());
    return found.error();
  };
  CHECK(ask(dir / "missing").code == fault::backend_failed);
  CHECK(ask("/bin/true").code == fault::backend_failed);
  CHECK(ask("/bin/echo").code == fault::backend_failed);    // says "check unified ..."
  CHECK(ask("/usr/bin/yes").code == fault::backend_failed); // says it for ever
}

TEST_CASE("a dropped call ends its unpacker") {
  auto archive = file_of("x");
  auto call = start_unpacker("/usr/bin/yes", {archive.get()}, -1); // never ends by itself
  REQUIRE(call.has_value());
}

TEST_CASE("the unpacker has given up its rights before it reads the first byte") {
  auto archive = file_of(pack(with_root({{"rootfs/noise", AE_IFREG, noise(2'000'000)}}), ARCHIVE_FILTER_GZIP));
  stage s;
  for (bool to_disk : {false, true}) {
    unique_fd target{open(s.volume.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    auto call = start_unpacker(unpack_program(), {archive.get()}, to_disk ? target.get() : -1);
    REQUIRE(call.has_value());
    std::string status;
    auto found = call->wait([&](uint64_t, uint64_t) {
      if (!status.empty()) return;
      // Not reaped while we are told of progress, so its status can be read even if it has just ended.
      std::ifstream children{"/proc/thread-self/children"};
      std::string pid;
      children >> pid;
      status = slurp("/proc/" + pid + "/status");
    });
    REQUIRE(found.has_value());
    INFO(status);
    CHECK_THAT(status, Contains("Name:\ttroupe-unpack"));
    CHECK_THAT(status, Contains("Uid:\t4294967040\t4294967040\t4294967040\t4294967040"));
    CHECK_THAT(status, Contains("Gid:\t4294967040\t4294967040\t4294967040\t4294967040"));
    CHECK_THAT(status, Contains("CapEff:\t000000008000001b"));
    CHECK_THAT(status, Contains("CapPrm:\t000000008000001b"));
    CHECK_THAT(status, Contains("CapBnd:\t0000000000000000"));
    CHECK_THAT(status, Contains("CapInh:\t0000000000000000"));
    CHECK_THAT(status, Contains("NoNewPrivs:\t1"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK_THAT(status, Contains("Seccomp:\t2"));
#endif
  }
}

TEST_CASE("the unpacker refuses to run without its daemon") {
  CHECK_FALSE(run({unpack_program()}));
  CHECK_FALSE(run({unpack_program(), "check", "unified", "1", "1000"}));
}
