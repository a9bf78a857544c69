#pragma once

#include "messages/error.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

class interrupt;
class progress;

/// What a recipe gets to work with.
struct kitchen {
  std::string folder; // private, removed afterwards
  std::string mirror; // of packages; empty: the recipe's own choice
  const interrupt& stop;
  progress& shown;
};

/// Paths below the kitchen's folder. `rootfs` is empty for a unified image.
struct image_files {
  std::string metadata, rootfs;
};

/// How to make one image; see recipes() for all. Equal ingredients give equal bytes, hence equal fingerprints.
struct recipe {
  const char* name;
  outcome<image_files> (*cook)(const kitchen& in);
  outcome<image_files> (*cook_machine)(const kitchen& in) = nullptr; // for virtual machines; null: there is none
};

std::span<const recipe> recipes() noexcept;

outcome<image_files> cook_busybox(const kitchen& in);
outcome<image_files> cook_busybox_machine(const kitchen& in);
outcome<image_files> cook_debian12(const kitchen& in);
outcome<image_files> cook_debian12_machine(const kitchen& in);

/// Runs a program that must succeed; its output. unsupported: it is missing, and is to be installed with `package`.
outcome<std::string> run_tool(const kitchen& in, std::vector<std::string> arguments, const char* package);

/// LXD's name of this machine's architecture, e.g. "x86_64".
std::string machine_architecture();

} // namespace troupe
