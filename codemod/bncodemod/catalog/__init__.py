"""What bncodemod knows of torch, torchvision and other libraries, as data."""
