#include "tests/backends/image_archives.hpp"

#include <algorithm>
#include <openssl/sha.h>
#include <sys/xattr.h>

using namespace troupe;
using namespace troupe::test;

namespace {

std::string sha256_of(const std::string& bytes) {
  unsigned char sum[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), sum);
  std::string out;
  char two[3];
  for (auto c : sum) {
    std::snprintf(two, sizeof two, "%02x", c);
    out += two;
  }
  return out;
}

/// A file capability as `setcap cap_net_raw=ep` writes it.
std::string net_raw_capability() {
  const unsigned char raw[20] = {1, 0, 0, 2, 0, 0x20};
  return {reinterpret_cast<const char*>(raw), sizeof raw};
}

std::vector<item> small_system() {
  item ping{"rootfs/bin/ping", AE_IFREG, "ping", 0755};
  ping.xattrs = {{"security.capability", net_raw_capability()}, {"user.note", "kept"}, {"trusted.x", "dropped"}};
  return with_root({
      directory("rootfs/bin"),
      {"rootfs/bin/su", AE_IFREG, "suid", 04755},
      ping,
      hard_link("rootfs/bin/sudo", "rootfs/bin/su"),
      link_to("rootfs/sbin", "bin"),
      link_to("rootfs/etc-outside", "/etc/shadow"),
      directory("rootfs/tmp", 01777),
      {"rootfs/home/user/note", AE_IFREG, "hello", 0600, 1000, 1001},
      {"rootfs/big-id", AE_IFREG, "", 0644, 65535, 65534},
      {"rootfs/run/pipe", AE_IFIFO, "", 0620, 5, 6},
      {"rootfs/dev/null", AE_IFCHR, "", 0666},
      {"rootfs/dev/sda", AE_IFBLK, "", 0660},
      hard_link("rootfs/dev/linked", "rootfs/dev/null"),
      {"rootfs/n\xc3\xa4me", AE_IFREG, "utf-8"},
      {"templates/hostname.tpl", AE_IFREG, "{{ container.name }}\n", 04755, 7, 7},
      {"unknown/file", AE_IFREG, "ignored"},
  });
}

void check_small_system(const stage& s) {
  auto su = s.look("rootfs/bin/su");
  CHECK((su.st_mode & 07777) == 04755);
  CHECK(su.st_nlink == 2);
  CHECK(su.st_ino == s.look("rootfs/bin/sudo").st_ino);
  CHECK(su.st_mtim.tv_sec == 1600000000);
  CHECK(S_ISLNK(s.look("rootfs/sbin").st_mode));
  CHECK(std::filesystem::read_symlink(s.volume + "/rootfs/etc-outside") == "/etc/shadow");
  CHECK((s.look("rootfs/tmp").st_mode & 07777) == 01777);
  CHECK(s.look("rootfs/tmp").st_mtim.tv_sec == 1600000000);
  CHECK(s.look("rootfs/bin").st_mtim.tv_sec == 1600000000);
  CHECK(s.look("rootfs/home/user/note").st_uid == 1000);
  CHECK(s.look("rootfs/home/user/note").st_gid == 1001);
  CHECK((s.look("rootfs/home/user/note").st_mode & 07777) == 0600);
  CHECK(slurp(s.volume + "/rootfs/home/user/note") == "hello");
  CHECK(s.look("rootfs/home/user").st_uid == 0);
  CHECK(s.look("rootfs/big-id").st_uid == 65535);
  CHECK(s.look("rootfs/big-id").st_gid == 65534);
  CHECK(S_ISFIFO(s.look("rootfs/run/pipe").st_mode));
  CHECK((s.look("rootfs/run/pipe").st_mode & 07777) == 0620);
  CHECK(s.look("rootfs/run/pipe").st_uid == 5);
  CHECK_FALSE(s.there("rootfs/dev/null"));
  CHECK_FALSE(s.there("rootfs/dev/linked"));
  CHECK_FALSE(s.there("rootfs/dev/sda"));
  CHECK(slurp(s.volume + "/rootfs/n\xc3\xa4me") == "utf-8");
  char value[64];
  const auto ping = s.volume + "/rootfs/bin/ping";
  REQUIRE(getxattr(ping.c_str(), "security.capability", value, sizeof value) == 20);
  CHECK(std::string(value, 20) == net_raw_capability());
  REQUIRE(getxattr(ping.c_str(), "user.note", value, sizeof value) == 4);
  CHECK(std::string(value, 4) == "kept");
  CHECK(getxattr(ping.c_str(), "trusted.x", value, sizeof value) < 0);
}

} // namespace

TEST_CASE("a unified image of any compression unpacks as it was packed") {
  auto [filter, extension] = GENERATE(table<int, std::string>({{ARCHIVE_FILTER_NONE, ".tar"},
                                                               {ARCHIVE_FILTER_GZIP, ".tar.gz"},
                                                               {ARCHIVE_FILTER_XZ, ".tar.xz"},
                                                               {ARCHIVE_FILTER_LZMA, ".tar.lzma"},
                                                               {ARCHIVE_FILTER_BZIP2, ".tar.bz2"},
                                                               {ARCHIVE_FILTER_ZSTD, ".tar.zst"}}));
  INFO(extension);
  stage s;
  auto items = small_system();
  items.push_back({"rootfs/na\xcc\x88me", AE_IFREG, "decomposed"});
  auto bytes = pack(items, filter);
  auto facts = s.take(stage::upload(bytes));
  INFO((facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
  CHECK(facts->fingerprint == sha256_of(bytes));
  CHECK(facts->size == bytes.size());
  CHECK_FALSE(facts->split);
  CHECK_FALSE(facts->virtual_machine);
  CHECK(facts->metadata.read([](auto m) { return text(m.getArchitecture()); }) == "x86_64");
  check_small_system(s);
  CHECK(slurp(s.volume + "/rootfs/na\xcc\x88me") == "decomposed");
  CHECK(slurp(s.volume + "/metadata.yaml") == good_yaml);
  CHECK((s.look("templates/hostname.tpl").st_mode & 07777) == 0755);
  CHECK(s.look("templates/hostname.tpl").st_uid == 0);
  CHECK_FALSE(s.there("unknown"));
  auto files = s.store.open(facts->fingerprint, false);
  REQUIRE(files.has_value());
  REQUIRE(files->size() == 1);
  CHECK(s.store.extension(files->front()).value() == extension);
}

TEST_CASE("names may start with ./ and parents may be missing") {
  stage s;
  auto items = with_root({{"./rootfs/a/b/c/d", AE_IFREG, "deep"}}, "./");
  items.insert(items.begin(), directory("./"));
  REQUIRE(s.take(stage::upload(pack(items, ARCHIVE_FILTER_GZIP))).has_value());
  CHECK(slurp(s.volume + "/rootfs/a/b/c/d") == "deep");
  CHECK((s.look("rootfs/a/b").st_mode & 07777) == 0755);
}

TEST_CASE("a split image is hashed as metadata followed by rootfs and unpacks from a tarball") {
  stage s;
  auto metadata =
      pack({yaml_item, {"templates/x.tpl", AE_IFREG, "t"}, {"rootfs/evil", AE_IFREG, "no"}}, ARCHIVE_FILTER_XZ);
  auto root =
      pack({directory("./", 0711), {"./etc/hostname", AE_IFREG, "h"}, hard_link("./etc/other", "./etc/hostname")},
           ARCHIVE_FILTER_GZIP);
  auto facts = s.take(stage::upload(metadata, root));
  INFO((facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
  CHECK(facts->split);
  CHECK(facts->fingerprint == sha256_of(metadata + root));
  CHECK(facts->size == metadata.size() + root.size());
  CHECK((s.look("rootfs").st_mode & 07777) == 0711);
  CHECK(s.look("rootfs/etc/other").st_nlink == 2);
  CHECK(slurp(s.volume + "/templates/x.tpl") == "t");
  CHECK_FALSE(s.there("rootfs/evil"));
}

TEST_CASE("a split image with a squashfs unpacks as it was packed") {
  auto compression = GENERATE("gzip", "xz", "zstd", "lz4");
  // What a tarball of the same system makes is the model.
  stage model;
  REQUIRE(model.take(stage::upload(pack(small_system()))).has_value());
  const auto large = noise(1'000'000) + std::string(1'000'000, 'x');
  spill(model.volume + "/rootfs/large", large);
  {
    unique_fd sparse{open((model.volume + "/rootfs/sparse").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644)};
    REQUIRE(ftruncate(sparse.get(), 5'000'001) == 0);
    REQUIRE(pwrite(sparse.get(), "end", 3, 4'000'000) == 3);
  }
  const auto squash = model.dir / "root.squashfs";
  REQUIRE(run(
      {"mksquashfs", model.volume + "/rootfs", squash, "-noappend", "-quiet", "-no-progress", "-comp", compression}));

  stage s;
  const auto metadata = pack({yaml_item}, ARCHIVE_FILTER_GZIP);
  const auto root = slurp(squash);
  auto facts = s.take(stage::upload(metadata, root));
  INFO(compression << ": " << (facts ? "" : facts.error().message));
  REQUIRE(facts.has_value());
  CHECK(facts->fingerprint == sha256_of(metadata + root));
  check_small_system(s);
  CHECK(slurp(s.volume + "/rootfs/large") == large);
  CHECK(slurp(s.volume + "/rootfs/sparse") == slurp(model.volume + "/rootfs/sparse"));
  CHECK(s.look("rootfs/sparse").st_blocks * 512 < 2'000'000);
  auto files = s.store.open(facts->fingerprint, true);
  REQUIRE(files.has_value());
  REQUIRE(files->size() == 2);
  CHECK(s.store.extension(files->at(1)).value() == ".squashfs");

  // Cut anywhere, it is refused.
  for (size_t size : {root.size() - 5000, root.size() / 2, size_t{200}}) {
    auto cut = s.store.inspect(stage::upload(metadata, std::string_view{root}.substr(0, size)), nullptr);
    REQUIRE_FALSE(cut.has_value());
    CHECK(cut.error().code == fault::invalid);
  }
}

TEST_CASE("keeping and forgetting may be repeated, and files are named after their content") {
  stage s;
  auto metadata = pack({yaml_item}, ARCHIVE_FILTER_GZIP);
  auto root = pack({directory("./")}, ARCHIVE_FILTER_GZIP);
  auto from = stage::upload(metadata, root);
  auto facts = s.store.inspect(from, nullptr);
  REQUIRE(facts.has_value());
  CHECK(s.store.list().value().empty());
  REQUIRE(s.store.keep(from, *facts).has_value());
  REQUIRE(s.store.keep(from, *facts).has_value());
  REQUIRE(s.store.keep(stage::upload(metadata, root), *facts).has_value());
  CHECK(s.store.list().value() == std::vector<std::string>{facts->fingerprint});
  const auto file = s.dir / "images/" + facts->fingerprint;
  CHECK(slurp(file) == metadata);
  CHECK(slurp(file + ".rootfs") == root);
  struct stat st {};
  REQUIRE(stat(file.c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  REQUIRE(stat((s.dir / "images").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0700);
  REQUIRE(s.store.forget(facts->fingerprint).has_value());
  REQUIRE(s.store.forget(facts->fingerprint).has_value());
  CHECK(std::filesystem::is_empty(s.dir / "images"));
  CHECK(s.store.open(facts->fingerprint, true).error().code == fault::not_found);
}

TEST_CASE("an upload from another file system is copied into the store") {
  stage s;
  auto bytes = pack(with_root({}), ARCHIVE_FILTER_GZIP);
  image_upload from{unique_fd{open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)}, {}, "x"};
  REQUIRE(from.metadata);
  REQUIRE(write(from.metadata.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  auto facts = s.take(from);
  REQUIRE(facts.has_value());
  CHECK(slurp(s.dir / "images/" + facts->fingerprint) == bytes);
}

TEST_CASE("half an image, as a crash leaves it, is swept and other files are left alone") {
  stage s;
  std::filesystem::create_directory(s.dir / "images");
  const auto name = std::string(64, 'a');
  spill(s.dir / "images/" + name + ".rootfs", "half");
  spill(s.dir / "images/notes.txt", "mine");
  CHECK(s.store.list().value().empty());
  CHECK_FALSE(std::filesystem::exists(s.dir / "images/" + name + ".rootfs"));
  CHECK(std::filesystem::exists(s.dir / "images/notes.txt"));
}

TEST_CASE("fingerprints that are none reach no file") {
  stage s;
  for (const auto* bad : {"", "../../etc/passwd", "abc"}) {
    CHECK(s.store.forget(bad).error().code == fault::invalid);
    CHECK(s.store.open(bad, false).error().code == fault::invalid);
    CHECK(s.store.unpack(bad, false, s.volume, nullptr).error().code == fault::invalid);
  }
}

TEST_CASE("image progress rises to the whole size") {
  stage s;
  const auto content = noise(4'000'000);
  auto from = stage::upload(pack(with_root({{"rootfs/noise", AE_IFREG, content}}), ARCHIVE_FILTER_GZIP));
  uint64_t last = 0, end = 0, calls = 0;
  bool rising = true;
  auto watch = [&](uint64_t done, uint64_t total) {
    rising = rising && done >= last && done <= total;
    last = done, end = total, ++calls;
  };
  auto facts = s.store.inspect(from, watch);
  REQUIRE(facts.has_value());
  CHECK(rising);
  CHECK(last == facts->size);
  CHECK(end == facts->size);
  REQUIRE(s.store.keep(from, *facts).has_value());
  last = calls = 0;
  REQUIRE(s.store.unpack(facts->fingerprint, false, s.volume, watch).has_value());
  CHECK(rising);
  CHECK(calls > 5);
  CHECK(slurp(s.volume + "/rootfs/noise") == content);
}
