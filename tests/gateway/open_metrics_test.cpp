#include "gateway/open_metrics.hpp"

#include <catch2/catch.hpp>

using namespace troupe;

TEST_CASE("samples of a family are together under its name, whatever order they come in") {
  open_metrics out;
  out.about({{"name", "c1"}, {"project", "default"}});
  out.add(metric::procs, 3);
  out.add(metric::cpu_seconds, 1.25, {{"cpu", "0"}});
  out.about({});
  out.add(metric::uptime_seconds, 0.5);
  out.about({{"name", "c2"}});
  out.add(metric::procs, 4);
  auto text = std::move(out).take();
  REQUIRE(text.find("lxd_cpu_seconds_total{cpu=\"0\",name=\"c1\",project=\"default\"} 1.25\n") != text.npos);
  REQUIRE(text.find("lxd_procs_total{name=\"c1\",project=\"default\"} 3\nlxd_procs_total{name=\"c2\"} 4\n") !=
          text.npos);
  REQUIRE(text.find("# TYPE lxd_procs_total gauge\nlxd_procs_total") != text.npos);
  REQUIRE(text.find("lxd_uptime_seconds 0.5\n") != text.npos);
  REQUIRE(text.find("lxd_disk") == text.npos); // nothing is told of what nobody counted
  REQUIRE(text.ends_with("\n# EOF\n"));
}

TEST_CASE("label values are escaped and large counters keep all their digits") {
  open_metrics out;
  out.add(metric::instances, 9007199254740991.0, {{"project", "a\"b\\c\nd"}});
  REQUIRE(std::move(out).take().find("lxd_instances{project=\"a\\\"b\\\\c\\nd\"} 9007199254740991\n") !=
          std::string::npos);
}
