#include "backends/image/archives.hpp"
#include "backends/image/bounded_yaml.hpp"
#include "tests/backends/image_archives.hpp"

#include <nlohmann/json.hpp>
#include <sys/mount.h>
#include <sys/xattr.h>

using namespace troupe;
using namespace troupe::test;
using Catch::Matchers::Contains;

namespace {

constexpr std::string_view access_list{
    "\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xd2\x04\0\0\x04\0\x04\0\xff\xff\xff\xff"
    "\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff",
    44};

void make_volume(const std::string& at) {
  std::filesystem::create_directories(at + "/rootfs/etc");
  std::filesystem::create_directory(at + "/templates");
  spill(at + "/metadata.yaml", good_yaml);
  spill(at + "/templates/a.tpl", "template");
  spill(at + "/rootfs/etc/file", std::string(5000, 'x'));
  REQUIRE(chown((at + "/rootfs/etc/file").c_str(), 1000, 3'000'000) == 0);
  REQUIRE(chmod((at + "/rootfs/etc/file").c_str(), 04751) == 0);
  REQUIRE(setxattr((at + "/rootfs/etc/file").c_str(), "user.note", "a\0b", 3, 0) == 0);
  REQUIRE(link((at + "/rootfs/etc/file").c_str(), (at + "/rootfs/etc/same").c_str()) == 0);
  REQUIRE(symlink("/etc/shadow", (at + "/rootfs/link").c_str()) == 0);
  REQUIRE(mkfifo((at + "/rootfs/fifo").c_str(), 0600) == 0);
  REQUIRE(mknod((at + "/rootfs/node").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0);
  unique_fd sparse{open((at + "/rootfs/sparse").c_str(), O_WRONLY | O_CREAT, 0600)};
  REQUIRE(pwrite(sparse.get(), "here", 4, 8 << 20) == 4);
  REQUIRE(ftruncate(sparse.get(), 64 << 20) == 0);
  spill(at + "/backup.yaml", "not of the tree");
}

std::vector<archive_part> backup_of(const std::string& volume, const std::string& index = "name: c1\n") {
  std::vector<archive_part> parts(3);
  parts[0].name = "backup/index.yaml";
  parts[0].content = index;
  parts[1].name = "backup/container/backup.yaml";
  parts[1].content = "container: {}\n";
  parts[2].name = "backup/container";
  parts[2].volume = root_mount{.path = volume};
  return parts;
}

struct shelf {
  scratch dir;
  std::string from = dir / "from", into = dir / "into";
  shelf() {
    std::filesystem::create_directory(from);
    std::filesystem::create_directory(into);
  }
  outcome<std::string> take(const unique_fd& archive, std::vector<backup_target> targets = {}) {
    if (targets.empty()) targets = {{"container", into}};
    return unpack_backup(archive, targets, nullptr, nullptr);
  }
};

struct stat look_at(const std::string& path) {
  struct stat out {};
  INFO(path);
  REQUIRE(lstat(path.c_str(), &out) == 0);
  return out;
}

const item index_item{"backup/index.yaml", AE_IFREG, "name: c1\n"};
const item text_item{"backup/container/backup.yaml", AE_IFREG, "container: {}\n"};

std::vector<item> with_container(std::vector<item> more) {
  std::vector<item> out{index_item, text_item, directory("backup/container/"), directory("backup/container/rootfs")};
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

} // namespace

TEST_CASE("what is packed comes out as it was, however it is compressed") {
  shelf s;
  make_volume(s.from);
  REQUIRE(setxattr((s.from + "/rootfs/etc/file").c_str(), "system.posix_acl_access", access_list.data(),
                   access_list.size(), 0) == 0);
  auto how = GENERATE(values<std::string>({"none", "gzip", "gzip-9", "bzip2", "lzma-1", "xz-1", "zstd", "zstd-19"}));
  INFO(how);
  auto file = file_of("");
  auto packed = pack_archive(backup_of(s.from), *parse_compression(how), file, nullptr, nullptr);
  INFO((packed ? "" : packed.error().message));
  REQUIRE(packed.has_value());
  CHECK(packed->size < 200'000); // holes stay holes
  struct stat facts {};
  REQUIRE(fstat(file.get(), &facts) == 0);
  CHECK(packed->size == static_cast<uint64_t>(facts.st_size));
  CHECK(packed->sha256.size() == 64);
  CHECK(*read_backup_index(file, nullptr) == "name: c1\n");
  auto text = s.take(file);
  INFO((text ? "" : text.error().message));
  REQUIRE(text.has_value());
  CHECK(*text == "container: {}\n");
  CHECK(slurp(s.into + "/metadata.yaml") == good_yaml);
  CHECK(slurp(s.into + "/templates/a.tpl") == "template");
  auto was = look_at(s.from + "/rootfs/etc/file"), is = look_at(s.into + "/rootfs/etc/file");
  CHECK(is.st_uid == 1000);
  CHECK(is.st_gid == 3'000'000);
  CHECK(is.st_mode == was.st_mode);
  CHECK(is.st_mtim.tv_sec == was.st_mtim.tv_sec);
  CHECK(is.st_ino == look_at(s.into + "/rootfs/etc/same").st_ino);
  char value[100];
  CHECK(getxattr((s.into + "/rootfs/etc/file").c_str(), "user.note", value, sizeof value) == 3);
  CHECK(getxattr((s.into + "/rootfs/etc/file").c_str(), "system.posix_acl_access", value, sizeof value) == 44);
  CHECK(S_ISFIFO(look_at(s.into + "/rootfs/fifo").st_mode));
  CHECK(S_ISLNK(look_at(s.into + "/rootfs/link").st_mode));
  auto sparse = look_at(s.into + "/rootfs/sparse");
  CHECK(sparse.st_size == 64 << 20);
  CHECK(sparse.st_blocks < 1000);
  CHECK_FALSE(std::filesystem::exists(s.into + "/rootfs/node")); // nodes are the daemon's to make
  CHECK_FALSE(std::filesystem::exists(s.into + "/backup.yaml"));
}

TEST_CASE("an instance over its image is packed as it looks from inside") {
  shelf s;
  auto lower = s.dir / "lower", upper = s.dir / "upper", work = s.dir / "work", merged = s.dir / "merged";
  make_volume(lower);
  spill(lower + "/rootfs/gone", "x");
  for (auto& each : {upper, work, merged}) std::filesystem::create_directory(each);
  auto options = "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work;
  REQUIRE(mount("overlay", merged.c_str(), "overlay", 0, options.c_str()) == 0);
  spill(merged + "/rootfs/new", "from above");
  std::filesystem::remove(merged + "/rootfs/gone"); // a whiteout
  std::filesystem::remove_all(merged + "/rootfs/etc");
  std::filesystem::create_directory(merged + "/rootfs/etc"); // opaque
  REQUIRE(umount(merged.c_str()) == 0);
  auto parts = backup_of(s.from);
  parts[2].volume = root_mount{.path = merged, .lower = lower, .upper = upper, .work = work};
  auto file = file_of("");
  auto packed = pack_archive(std::move(parts), {"none"}, file, nullptr, nullptr);
  INFO((packed ? "" : packed.error().message));
  REQUIRE(packed.has_value());
  REQUIRE(s.take(file).has_value());
  CHECK(slurp(s.into + "/rootfs/new") == "from above");
  CHECK_FALSE(std::filesystem::exists(s.into + "/rootfs/gone"));
  CHECK(std::filesystem::is_empty(s.into + "/rootfs/etc"));
  CHECK(slurp(s.into + "/metadata.yaml") == good_yaml);
}

TEST_CASE("a backup that reaches out of its trees is refused") {
  shelf s;
  auto victim = s.dir / "victim";
  spill(victim, "secret");
  auto [bad, word] = GENERATE_COPY(table<item, std::string>(
      {{item{"../escaped", AE_IFREG, "x"}, "leaves it"},
       {item{"backup/container/../../escaped", AE_IFREG, "x"}, "leaves it"},
       {item{"/tmp/troupe-image-test-escaped", AE_IFREG, "x"}, "absolute"},
       {hard_link("backup/container/rootfs/shadow", "/etc/shadow"), "absolute"},
       {hard_link("backup/container/rootfs/shadow", "../../etc/shadow"), "leaves it"},
       {hard_link("backup/container/rootfs/x", "backup/index.yaml"), "leaves its tree"},
       {hard_link("backup/container/rootfs/x", "backup/container/backup.yaml"), "no earlier file"},
       {link_to("backup/container/metadata.yaml", victim), "no regular file"},
       {link_to("backup/container/templates", "/etc"), "no regular file"},
       {link_to("backup/container/templates/x", victim), "no regular file"},
       {link_to("backup/container/rootfs", "/etc"), "no directory"},
       {link_to("backup/container/backup.yaml", victim), "no regular file"},
       {link_to("backup/index.yaml", victim), "no regular file"},
       {link_to("backup/snapshots", "/etc"), "no directory"},
       {link_to("backup", "/etc"), "no directory"},
       {link_to("backup/container", "/etc"), "no directory"},
       {item{"backup/container", AE_IFCHR}, "no directory"},
       {text_item, "more than one"},
       {item{"backup/snapshots/unnamed/rootfs/x", AE_IFREG, "x"}, "does not name"},
       {item{"backup/container/rootfs.img", AE_IFREG, "x"}, "virtual machines are not"},
       {item{"backup/virtual-machine.img", AE_IFREG, "x"}, "virtual machines are not"},
       {item{"backup/virtual-machine/metadata.yaml", AE_IFREG, "x"}, "virtual machines are not"}}));
  INFO(bad.path << " -> " << bad.content);
  auto archive = file_of(pack(with_container({bad})));
  auto taken = s.take(archive);
  REQUIRE_FALSE(taken.has_value());
  CHECK_THAT(taken.error().message, Contains(word));
  CHECK(taken.error().message.find('\n') == std::string::npos);
  CHECK_FALSE(std::filesystem::exists("/tmp/troupe-image-test-escaped"));
  CHECK(slurp(victim) == "secret");
}

TEST_CASE("two indexes are refused, and one that is a link is not read") {
  shelf s;
  auto twice = file_of(pack(with_container({index_item})));
  CHECK(read_backup_index(twice, nullptr).has_value()); // what it says is looked at, and then the whole
  CHECK_THAT(s.take(twice).error().message, Contains("more than one"));
  auto link = file_of(pack({link_to("backup/index.yaml", "/etc/shadow")}));
  CHECK_THAT(read_backup_index(link, nullptr).error().message, Contains("no regular file"));
  auto large = file_of(pack({{"backup/index.yaml", AE_IFREG, std::string(2 << 20, ' ')}}));
  CHECK(read_backup_index(large, nullptr).error().code == fault::too_large);
}

TEST_CASE("nothing of a backup is written through a link, and no device node is made") {
  shelf s;
  auto outside = s.dir / "outside";
  std::filesystem::create_directory(outside);
  auto through = file_of(pack(with_container(
      {link_to("backup/container/rootfs/way", outside), {"backup/container/rootfs/way/file", AE_IFREG, "x"}})));
  CHECK_FALSE(s.take(through).has_value());
  CHECK(std::filesystem::is_empty(outside));
  shelf fresh;
  auto node = file_of(pack(with_container({{"backup/container/rootfs/null", AE_IFCHR}})));
  REQUIRE(fresh.take(node).has_value());
  CHECK_FALSE(std::filesystem::exists(fresh.into + "/rootfs/null"));
}

TEST_CASE("what is no backup, or only a part of one, is refused with a reason") {
  shelf s;
  auto refusal = [&](std::string_view bytes) {
    auto file = file_of(bytes);
    auto index = read_backup_index(file, nullptr);
    REQUIRE_FALSE(index.has_value());
    return index.error().message;
  };
  CHECK_THAT(refusal(""), Contains("no tarball"));
  CHECK_THAT(refusal(std::string(5000, 'g')), Contains("no tarball"));
  CHECK_THAT(refusal("\x1f\x8b" + std::string(5000, 'g')), Contains("broken"));
  CHECK_THAT(refusal(pack(with_root({}))), Contains("no \"backup/index.yaml\""));
  CHECK_THAT(s.take(file_of(pack({index_item, text_item}))).error().message, Contains("no rootfs"));
  CHECK_THAT(s.take(file_of(pack({index_item, directory("backup/container/rootfs")}))).error().message,
             Contains("backup.yaml"));
  auto filter = GENERATE(ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_ZSTD);
  auto whole = pack(with_container({{"backup/container/rootfs/noise", AE_IFREG, noise(300'000)}}), filter);
  for (auto size : {whole.size() / 3, whole.size() / 2, whole.size() - 20'000}) {
    shelf fresh;
    CHECK_FALSE(fresh.take(file_of(whole.substr(0, size))).has_value());
  }
}

TEST_CASE("the trees of a backup go to their own volumes") {
  shelf s;
  auto second = s.dir / "second";
  std::filesystem::create_directory(second);
  auto archive =
      file_of(pack(with_container({{"backup/container/rootfs/a", AE_IFREG, "now"},
                                   directory("backup/snapshots/one/rootfs"),
                                   {"backup/snapshots/one/backup.yaml", AE_IFREG, "old"},
                                   {"backup/snapshots/one/rootfs/a", AE_IFREG, "then"},
                                   hard_link("backup/snapshots/one/rootfs/b", "backup/snapshots/one/rootfs/a")})));
  auto text = s.take(archive, {{"container", s.into}, {"snapshots/one", second}});
  INFO((text ? "" : text.error().message));
  REQUIRE(text.has_value());
  CHECK(slurp(s.into + "/rootfs/a") == "now");
  CHECK(slurp(second + "/rootfs/b") == "then");
  CHECK_FALSE(s.take(archive, {{"container", s.dir / "missing"}}).has_value());
}

TEST_CASE("YAML is read within bounds, and a key twice is refused") {
  CHECK(json_of_yaml("a: {b: [1, true, ~]}", "It")->dump() == R"({"a":{"b":["1","true",null]}})");
  CHECK_THAT(json_of_yaml("a: &x [1]\nb: *x", "It").error().message, Contains("aliases"));
  CHECK_THAT(json_of_yaml("a: 1\na: 2", "It").error().message, Contains("twice"));
  CHECK_THAT(json_of_yaml(std::string(40, '['), "It").error().message, Contains("deep"));
  std::string many = "[";
  for (int i = 0; i < 30'000; ++i) many += "1,";
  CHECK_THAT(json_of_yaml(many + "1]", "It").error().message, Contains("many"));
  CHECK_FALSE(json_of_yaml("a: [", "It").has_value());
  auto odd = nlohmann::json{{"k: \"1\n", "true\t\x01"}, {"n", 12}, {"l", nlohmann::json::array({true, nullptr})}};
  CHECK((*json_of_yaml(yaml_of_json(odd), "It"))["k: \"1\n"] == "true\t\x01");
}

TEST_CASE("a compression is a name and a level, and nothing else") {
  CHECK(parse_compression("zstd-19")->level == 19);
  CHECK(parse_compression("none")->algorithm == "none");
  for (auto bad : {"", "gzip -9", "gzip-10", "zstd-0", "none-1", "pigz", "gzip;id", "zstd-", "zstd--1", "/bin/sh"})
    CHECK(parse_compression(bad).error().code == fault::invalid);
  CHECK(parse_compression("squashfs").error().code == fault::unsupported);
}
