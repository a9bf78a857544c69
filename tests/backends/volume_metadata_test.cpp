#include "backends/image/volume_metadata.hpp"

#include "messages/config_map.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <stdlib.h>
#include <sys/stat.h>

namespace troupe {
namespace {

namespace fs = std::filesystem;

/// A volume in two layers, or in one.
struct volume {
  std::string place = "/tmp/troupe-volume-XXXXXX";
  root_mount root;

  explicit volume(bool layered) {
    REQUIRE(::mkdtemp(place.data()));
    for (auto dir : {"/lower/templates", "/upper", "/work"}) fs::create_directories(place + dir);
    root.path = place + "/lower";
    if (layered) root = {place + "/merged", place + "/lower", place + "/upper", place + "/work"};
    write("lower/metadata.yaml", "architecture: x86_64\ncreation_date: 1\nproperties: {os: Test}\n");
    write("lower/templates/a.tpl", "a");
    write("lower/templates/b.tpl", "b");
  }
  volume(const volume&) = delete;
  ~volume() { fs::remove_all(place); }
  void write(const std::string& path, const std::string& text) const { std::ofstream{place + "/" + path} << text; }
  volume_metadata open() const { return std::move(volume_metadata::open(root).value()); }
};

message<schema::ImageMetadata> with_property(const message<schema::ImageMetadata>& from, const std::string& value) {
  return message<schema::ImageMetadata>::make([&](schema::ImageMetadata::Builder b) {
    from.read([&](auto old) {
      b.setArchitecture(old.getArchitecture());
      b.setCreationDate(old.getCreationDate());
    });
    fill(b.initProperties(1), {{"text", value}});
  });
}

} // namespace

TEST_CASE("metadata is read, replaced whole, and keeps what YAML would take for something else") {
  bool layered = GENERATE(false, true);
  for (std::string value : {"plain", "yes", "a: \"b\"\n'c' # d", "- x", "~", "0x10", "\ttab"}) {
    CAPTURE(layered, value);
    volume v{layered};
    auto opened = v.open();
    auto first = opened.read().value();
    auto wanted = with_property(first, value);
    REQUIRE(opened.replace(wanted, &first));
    CHECK(v.open().read().value().read([](auto m) { return to_map(m.getProperties()); }) ==
          config_map{{"text", value}});
    CHECK(opened.replace(wanted, &first).error().code == fault::precondition); // `first` is not there any more
    CHECK(opened.replace(with_property(first, "a\x01"), nullptr).error().code == fault::invalid);
    if (layered) CHECK(fs::file_size(v.place + "/lower/metadata.yaml") < 70); // the image's own is not touched
  }
}

TEST_CASE("templates of both layers are seen, and one that was removed is gone") {
  using names = std::vector<std::string>;
  for (bool layered : {false, true}) {
    volume v{layered};
    auto opened = v.open();
    CHECK(opened.templates().value() == names{"a.tpl", "b.tpl"});
    REQUIRE(opened.write_template("c.tpl", "{{ container.name }}"));
    REQUIRE(opened.write_template("a.tpl", "new"));
    REQUIRE(opened.remove_template("b.tpl"));
    CHECK(v.open().templates().value() == names{"a.tpl", "c.tpl"});
    CHECK(v.open().read_template("a.tpl").value() == "new");
    CHECK(v.open().read_template("b.tpl").error().code == fault::not_found);
    CHECK(opened.remove_template("b.tpl").error().code == fault::not_found);
    REQUIRE(opened.write_template("b.tpl", "again"));
    CHECK(v.open().read_template("b.tpl").value() == "again");
    if (layered) CHECK(fs::exists(v.place + "/lower/templates/b.tpl"));
  }
}

TEST_CASE("names that lead elsewhere, templates that cannot be rendered, and links are refused") {
  volume v{false};
  auto opened = v.open();
  for (auto bad : {"", "../x", "a/b", ".hidden", "a\nb"})
    CHECK(opened.write_template(bad, "x").error().code == fault::invalid);
  v.write("lower/secret", "of the instance");
  for (auto bad : {"../secret", "../metadata.yaml", "a.tpl/../../secret", "/etc/passwd"}) {
    CAPTURE(bad);
    CHECK_FALSE(opened.read_template(bad));
  }
  CHECK(opened.read_template("../secret").error().code == fault::invalid);
  CHECK_FALSE(opened.write_template("bad.tpl", "{{ "));
  CHECK_FALSE(opened.write_template("bad.tpl", "{% include \"/etc/passwd\" %}"));
  CHECK_FALSE(opened.write_template("bad.tpl", std::string(volume_metadata::template_bytes_max + 1, 'x')));
  CHECK(opened.templates().value().size() == 2);
  fs::create_symlink("/etc/passwd", v.place + "/lower/templates/link");
  CHECK_FALSE(opened.read_template("link"));
  CHECK(opened.templates().value().size() == 2);
  fs::rename(v.place + "/lower/templates", v.place + "/elsewhere");
  fs::create_symlink("../elsewhere", v.place + "/lower/templates");
  CHECK_FALSE(opened.templates());
  CHECK_FALSE(opened.write_template("x.tpl", "x"));
}

} // namespace troupe
